"""What a run uses of the machine: its device, the number of threads, and the precision that it is fast in."""

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


def slow_precision(precision: str, device: torch.device) -> str | None:
    """A sentence where this processor computes more slowly in that precision than in float32; None elsewhere."""
    if precision != "bf16" or device.type != "cpu" or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    return "trainer.precision=bf16: this processor has no instructions for bfloat16 and is much faster with fp32"


@contextmanager
def cpu_threads(number: int | None) -> Iterator[None]:
    """Within the block torch uses so many threads; None changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
