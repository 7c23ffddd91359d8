"""What a run uses of the machine: its device, the number of threads, and the precision that it is fast in."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from descant.devices import select_device
from descant.errors import ConfigError, InvalidRequest
from descant.training.trainer_config import ComputedPrecision, TrainingPrecision

X86 = ("x86_64", "AMD64")


def training_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ConfigError: this machine has no such device.
    """
    try:
        return select_device(name)
    except InvalidRequest as error:
        raise ConfigError(f"trainer.{error}") from error


def computes_in_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; without them it is slower than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu" or not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    # oneDNN says yes to all of AVX-512, but without these instructions it converts every number to float32 and back.
    return platform.machine() not in X86 or torch.cpu._is_avx512_bf16_supported()


def resolved_precision(precision: TrainingPrecision, device: torch.device) -> ComputedPrecision:
    """The precision that a run computes in, where "auto" stands for the one that suits the device."""
    if precision == "auto":
        return "bf16" if computes_in_bfloat16(device) else "fp32"
    return precision


def slow_precision(precision: ComputedPrecision, device: torch.device) -> str | None:
    """A sentence where this processor computes more slowly in that precision than in float32; None elsewhere."""
    if precision != "bf16" or device.type != "cpu" or computes_in_bfloat16(device):
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
