"""How fast a model runs on this machine, compared with the most that the machine could do.

Generating reads every weight of the language model once a step, so memory bandwidth is its ceiling; the codec and
training are bound by arithmetic, and are compared with the rate of a large matrix product. Ceilings are measured in the
same run, on the same device and with the same threads. Numbers of a busy machine are only good for ratios.
"""

import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from descant.api import MusicGen
from descant.generation.request import Request
from descant.lm.loss import pattern_cross_entropy
from descant.lm.model import MusicLM
from descant.patterns import Pattern, interleave

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


def decode_speed(model: MusicGen, duration_s: float, repeats: int = 3) -> dict[str, Any]:
    """Seconds for one guided prompt from text to sound, and how near its steps come to reading the weights only.

    The median of ``repeats`` runs, after one short run that is not counted.
    """
    device = model.model.device
    model.generate(Request(text="warm-up", duration_s=min(1.0, duration_s), seed=0))
    _forget_peak(device)
    runs = [_one_decode(model, Request(text="piano and drums", duration_s=duration_s, seed=n)) for n in range(repeats)]
    seconds, step_s = (statistics.median(column) for column in zip(*runs, strict=True))
    machine = machine_info(model)  # before the ceiling, whose large tensors would count as the model's memory
    weight_bytes = step_bytes(model.model.lm)
    bandwidth = measure_ceiling(device, model.model.lm.norm.weight.dtype).bandwidth_bytes_per_s
    return {
        "what": "decode",
        "audio_s": duration_s,
        "seconds": seconds,
        "real_time_factor": seconds / duration_s,
        "steps_per_s": 1 / step_s,
        "ms_per_step": 1_000 * step_s,
        "weight_bytes_per_step": weight_bytes,
        "bandwidth_bytes_per_s": bandwidth,
        "ceiling_steps_per_s": bandwidth / weight_bytes,
        "share_of_ceiling": weight_bytes / step_s / bandwidth,
        **machine,
    }


def codec_speed(model: MusicGen, duration_s: float, repeats: int = 3) -> dict[str, Any]:
    """Seconds to encode and to decode a clip of noise, and the share of the arithmetic rate that this reaches."""
    codec = model.model.codec
    device = model.model.device
    num_samples = max(1, round(duration_s * codec.sample_rate_hz))
    wave = 0.1 * torch.randn(1, codec.num_channels, num_samples, device=device)
    result: dict[str, Any] = {"what": "codec", "audio_s": duration_s}
    with torch.inference_mode():
        codes = codec.encode(wave)
        _forget_peak(device)
        for name, work in (("encode", lambda: codec.encode(wave)), ("decode", lambda: codec.decode(codes))):
            seconds = statistics.median(timed(work, device) for _ in range(repeats))
            result |= {
                f"{name}_seconds": seconds,
                f"{name}_real_time_factor": seconds / duration_s,
                f"{name}_flops_per_s": count_flops(work) / seconds,
            }
    machine = machine_info(model)
    ceiling = measure_ceiling(device, torch.float32).flops_per_s
    shares = {f"{name}_share_of_ceiling": result[f"{name}_flops_per_s"] / ceiling for name in ("encode", "decode")}
    return {**result, **shares, "ceiling_flops_per_s": ceiling, **machine}


def train_speed(model: MusicGen, duration_s: float, batch_size: int = 8, repeats: int = 3) -> dict[str, Any]:
    """Seconds for one training step of the language model on random codes (forward, backward, AdamW), unconditioned."""
    device = model.model.device
    lm, pattern = MusicLM(model.config.lm).to(device), model.config.pattern
    num_frames = max(1, round(duration_s * model.model.codec.frame_rate_hz))
    codes = torch.randint(lm.config.codebook_size, (batch_size, lm.config.num_codebooks, num_frames), device=device)
    optimizer = torch.optim.AdamW(lm.parameters(), lr=1e-4)

    def step() -> None:
        _loss(lm, pattern, codes).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step()
    _forget_peak(device)
    flops = count_flops(step)
    seconds = statistics.median(timed(step, device) for _ in range(repeats))
    machine = machine_info(model)
    ceiling = measure_ceiling(device, torch.float32).flops_per_s
    return {
        "what": "train",
        "audio_s": batch_size * duration_s,
        "batch_size": batch_size,
        "seconds": seconds,
        "steps_per_s": 1 / seconds,
        "real_time_factor": seconds / (batch_size * duration_s),
        "flops_per_s": flops / seconds,
        "ceiling_flops_per_s": ceiling,
        "share_of_ceiling": flops / seconds / ceiling,
        **machine,
    }


def step_bytes(lm: MusicLM) -> int:
    """The bytes that one generation step must read: every weight but the embeddings, of which it takes a row each."""
    embeddings = {id(parameter) for parameter in lm.embeddings.parameters()}
    return sum(
        parameter.numel() * parameter.element_size() for parameter in lm.parameters() if id(parameter) not in embeddings
    )


def count_flops(work: Callable[[], object]) -> int:
    """The arithmetic of the matrix products and convolutions of some work."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def timed(work: Callable[[], object], device: torch.device) -> float:
    """The seconds that some work takes, to its end on the device."""
    _wait(device)
    began = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - began


def machine_info(model: MusicGen) -> dict[str, Any]:
    """What a number depends on besides the code: device, processor, precision, threads, torch; and memory used."""
    device = model.model.device
    is_cuda = device.type == "cuda"
    return {
        "peak_memory_bytes": torch.cuda.max_memory_allocated(device) if is_cuda else _peak_resident_bytes(),
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


def _one_decode(model: MusicGen, request: Request) -> tuple[float, float]:
    """Seconds of one run, and of one of its steps, the first left out: it reads the prompt too."""
    ends: list[float] = []
    began = time.perf_counter()
    model.generate(request, progress=lambda *_: ends.append(time.perf_counter()))
    seconds = time.perf_counter() - began
    return seconds, (ends[-1] - ends[0]) / max(1, len(ends) - 1)


def _loss(lm: MusicLM, pattern: Pattern, codes: torch.Tensor) -> torch.Tensor:
    num_frames = codes.shape[-1]
    length = pattern.training_length(num_frames)
    sequence = interleave(codes, pattern.steps(num_frames), length, empty=lm.special_code)
    return pattern_cross_entropy(lm(sequence), codes, pattern)[0]


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_resident_bytes() -> int:
    """The most memory this process ever had; macOS counts in bytes, Linux in units of 1024."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1_024 * peak
