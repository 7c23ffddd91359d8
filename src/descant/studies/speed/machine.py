"""The machine under a measurement: the most that it can do, its processor, and the memory that was used."""

import platform
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from descant.api import MusicGen
from descant.studies.speed.timing import timed

COPY_BYTES = {"cpu": 1 << 28, "cuda": 1 << 30, "mps": 1 << 28}
PRODUCT_SIZE = {"cpu": 1_024, "cuda": 8_192, "mps": 2_048}
TRIALS = 5


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """The most that this machine does: ``bandwidth`` counts the bytes read and those written by a copy."""

    bandwidth_bytes_per_s: float
    flops_per_s: float


def measure_ceiling(device: torch.device, dtype: torch.dtype) -> Ceiling:
    """The best of a few large copies, and of a few large matrix products."""
    source = torch.ones(COPY_BYTES[device.type] // 4, device=device)
    target = torch.empty_like(source)
    copy_s = min(timed(lambda: target.copy_(source), device) for _ in range(TRIALS))
    size = PRODUCT_SIZE[device.type]
    matrix = torch.ones(size, size, device=device, dtype=dtype)
    product_s = min(timed(lambda: matrix @ matrix, device) for _ in range(TRIALS))
    return Ceiling(
        bandwidth_bytes_per_s=2 * source.numel() * source.element_size() / copy_s, flops_per_s=2 * size**3 / product_s
    )


def count_flops(work: Callable[[], object]) -> int:
    """The arithmetic of the matrix products and convolutions of some work."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def machine_info(model: MusicGen) -> dict[str, Any]:
    """What a number depends on besides the code: device, processor, precision, threads, torch; and memory used."""
    device = model.model.device
    is_cuda = device.type == "cuda"
    return {
        "peak_memory_bytes": torch.cuda.max_memory_allocated(device) if is_cuda else peak_resident_bytes(),
        "model": model.name,
        "num_parameters": sum(parameter.numel() for parameter in model.model.parameters()),
        "device": torch.cuda.get_device_name(device) if is_cuda else device.type,
        "processor": processor_name(),
        "precision": model.precision,
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def processor_name() -> str:
    """The processor's own name, its family and model, which tell apart processors of one name, and the vector
    instructions that torch uses on it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        lines = []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name") or platform.processor() or platform.machine()
    numbers = [f"{field.split()[-1]} {fields[field]}" for field in ("cpu family", "model") if field in fields]
    return ", ".join([name, *numbers, torch.backends.cpu.get_cpu_capability()])


def forget_peak(device: torch.device) -> None:
    """Starts the peak of a GPU's memory anew; that of a process cannot be."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def resident_bytes() -> int | None:
    """The memory that this process has now; None where the system does not say so."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return None


def peak_resident_bytes() -> int:
    """The most memory this process ever had.

    On Linux ``ru_maxrss`` also counts what the parent had when it started this process, so the kernel's own peak of
    this program's memory is read. macOS counts ``ru_maxrss`` in bytes, other systems in units of 1024.
    """
    try:
        status = Path("/proc/self/status").read_text()
        return 1_024 * int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
    except (OSError, StopIteration):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1_024 * peak
