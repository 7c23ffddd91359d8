"""What a run uses of the machine: its device and the number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from descant.devices import select_device
from descant.errors import ConfigError, InvalidRequest


def training_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ConfigError: this machine has no such device.
    """
    try:
        return select_device(name)
    except InvalidRequest as error:
        raise ConfigError(f"trainer.{error}") from error


@contextmanager
def cpu_threads(number: int | None) -> Iterator[None]:
    """Within the block torch uses so many threads; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
