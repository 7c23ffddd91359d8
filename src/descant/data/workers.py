"""Work on audio files, in this process or in several others, with the same results in the same order."""

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from copy import deepcopy
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, cast

import torch
from torch import nn
from torch.nn.utils import parametrize

from descant.codec.base import AudioCodec
from descant.errors import InvalidRequest
from descant.process_pool import process_pool

T = TypeVar("T")

AHEAD = 4
"""Calls that are started ahead of the one that is waited for, of each process."""

_codec: list[tuple[AudioCodec, torch.device | str]] = []
"""That of a process that was started with one."""


class Workers:
    """Calls functions: here, when a result is asked for, or in ``num_processes`` processes, as soon as one is free.

    Args:
        codec: the first argument of what ``start_with_codec`` calls; every process has a copy on the device.

    Raises:
        InvalidRequest: there is less than one process.
        ProcessLost: a process was ended; from the block.
    """

    def __init__(
        self, num_processes: int = 1, codec: AudioCodec | None = None, device: torch.device | str = "cpu"
    ) -> None:
        if num_processes < 1:
            raise InvalidRequest(f"workers={num_processes}: at least 1")
        self._codec, self._device = codec, device
        self._num_ahead = 0 if num_processes == 1 else AHEAD * num_processes
        self._stack = ExitStack()
        self._pool: ProcessPoolExecutor | None = None
        if num_processes > 1:
            num_threads = max(1, torch.get_num_threads() // num_processes)
            pool = process_pool(
                num_processes, _begin, _to_send(codec), device, option="--workers", num_threads=num_threads
            )
            self._pool = self._stack.enter_context(pool)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def start(self, function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        """A function that gives the result of this call, or raises its error."""
        return partial(function, *arguments) if self._pool is None else self._pool.submit(function, *arguments).result

    def start_with_codec(self, function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        """The same, with the codec and its device as first arguments."""
        if self._pool is None:
            return partial(function, self._codec, self._device, *arguments)
        return self._pool.submit(_with_codec, function, *arguments).result

    def ahead(self, calls: Iterable[T]) -> Iterator[T]:
        """The same calls, of which the next ones are already started in other processes."""
        started: deque[T] = deque()
        for call in calls:
            started.append(call)
            if len(started) > self._num_ahead:
                yield started.popleft()
        yield from started


@torch.inference_mode(False)
def _to_send(codec: AudioCodec | None) -> bytes | None:
    """A codec for another process, pickled: of weights that are computed from others, only the values.

    Pickled here: multiprocessing would pass its tensors through shared memory, of which containers have little.
    """
    if codec is None:
        return None
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
    return pickle.dumps(copy.cpu())


def _begin(sent: bytes | None, device: torch.device | str) -> None:
    if sent is not None:
        _codec.append((pickle.loads(sent).to(device), device))


@torch.inference_mode()
def _with_codec(function: Callable[..., T], *arguments: Any) -> T:
    return function(*_codec[0], *arguments)
