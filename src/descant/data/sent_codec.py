"""A codec in the processes that encode with it: written to a file once, and read by each of them at its first call."""

import os
import pickle
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from descant.codec.base import AudioCodec

T = TypeVar("T")

_read: dict[str, AudioCodec] = {}
"""The codec that this process has read last, by its file."""


@torch.inference_mode(False)
def write_codec(codec: AudioCodec, path: Path) -> None:
    """Writes a codec for other processes of this command: of weights that are computed from others, only the values.

    A file, since multiprocessing would pass its tensors through shared memory, of which containers have little.
    """
    path.write_bytes(pickle.dumps(_plain(codec)))


@torch.inference_mode()
def with_codec(path: str | os.PathLike[str], device: str, function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function with the codec of a file on a device, and that device, as its first arguments."""
    name, place = os.fspath(path), torch.device(device)
    if name not in _read:
        _read.clear()  # of the codec before nothing is encoded any more
        _read[name] = pickle.loads(Path(name).read_bytes()).to(place)
    return function(_read[name], place, *arguments)


def _plain(codec: AudioCodec) -> AudioCodec:
    """A copy on the CPU whose weights are all stored."""
    copy = deepcopy(codec)
    for module in [*copy.modules()]:
        if parametrize.is_parametrized(module):
            names = [*cast(nn.ModuleDict, module.parametrizations)]
            values = {name: getattr(module, name).detach() for name in names}
            # Not by remove_parametrizations: it would change the class, which is that of the original, too.
            module.__class__ = type(module).__bases__[0]
            del module.parametrizations
            for name, value in values.items():
                module.register_parameter(name, nn.Parameter(value, requires_grad=False))
            # Those of weight norms are functions inside of functions, which cannot be sent.
            module._load_state_dict_pre_hooks.clear()
    return copy.cpu()
