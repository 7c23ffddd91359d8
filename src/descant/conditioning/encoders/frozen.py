"""Frozen networks read by transformers: what the encoders of this folder share.

The only file of the package that imports transformers.
"""

import copy
from collections.abc import Iterator, Set
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from descant.errors import CheckpointError, MissingExtra

MAX_DESCRIPTION_BYTES = 2**24
"""The tokenizer of T5 has 2 MB; its library takes gigabytes for one of a hundred."""


def import_transformers(user: str) -> ModuleType:
    """The library, imported when an encoder needs it and not before.

    Raises:
        MissingExtra: it is not installed; the message names ``user``.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra(f'{user} needs transformers: pip install "descant[t5]"') from error
    return transformers


@contextmanager
def errors_of_reading(kind: str, name: str) -> Iterator[None]:
    """Turns what transformers raises where it cannot read a network into an error of ours.

    Raises:
        CheckpointError: in place of the library's errors.
    """
    try:
        yield
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{name}: no {kind} could be read from there ({first_line(error)})") from error


def load_network(
    network_class: Any,
    place: str,
    config: Any,
    *,
    name: str,
    revision: str | None = None,
    optional: Set[str] = frozenset(),
) -> Any:
    """A frozen network in float32.

    Args:
        name: what messages call it.
        optional: weights that the file may lack.

    Raises:
        CheckpointError: another weight is missing. transformers would fill it with random numbers and a warning.
    """
    network, report = network_class.from_pretrained(place, config=config, revision=revision, output_loading_info=True)
    if missing := sorted(set(report["missing_keys"]) - optional):
        raise CheckpointError(f"{name}: weights are missing, first {missing[:3]}")
    # A checkpoint may be stored in half precision; newer transformers would keep it so.
    return network.float().eval().requires_grad_(False)


def copied_to(network: Any, device: torch.device | str) -> Any:
    """A copy of the network on a device, or the network itself if it is there already: frozen, it can be shared."""
    return network if torch.device(device) == network.device else copy.deepcopy(network).to(device)


def check_descriptions(folder: Path) -> None:
    """Refuses a folder in which a config or a tokenizer is too long to be read safely.

    Raises:
        CheckpointError: a file has more than ``MAX_DESCRIPTION_BYTES``.
    """
    for pattern in ("*.json", "*.model", "*.txt"):
        for file in folder.glob(pattern):
            size = file.stat().st_size if file.is_file() else 0
            if size > MAX_DESCRIPTION_BYTES:
                raise CheckpointError(f"{file}: has {size} bytes; at most {MAX_DESCRIPTION_BYTES} are read")


def first_line(error: Exception) -> str:
    """The first line of an error's message, at most 200 characters; its class if it has no message."""
    return f"{str(error).strip().splitlines()[0]:.200}" if str(error).strip() else type(error).__name__
