"""Speed of a training step."""

from typing import Any

import torch

from descant.api import MusicGen
from descant.lm.loss import pattern_cross_entropy
from descant.lm.model import MusicLM
from descant.patterns import Pattern, interleave
from descant.studies.speed.busy import with_busy
from descant.studies.speed.machine import count_flops, forget_peak, machine_info, measure_ceiling
from descant.studies.speed.timing import Values, measure, timed
from descant.training.optim import AdamWConfig, make_optimizer
from descant.training.precision import DTYPES, forward_precision
from descant.training.trainer_config import ComputedPrecision


def train_speed(
    model: MusicGen,
    duration_s: float,
    batch_size: int = 8,
    repeats: int = 3,
    *,
    precision: ComputedPrecision = "fp32",
    num_busy: int = 0,
) -> dict[str, Any]:
    """Seconds for one training step of the language model on random codes (forward, backward, AdamW), unconditioned.

    Args:
        precision: of the forward pass, as ``trainer.precision``; weights are float32, whatever the model's are.
        num_busy: also measures while this number of other processes are busy.
    """
    device = model.model.device
    lm, pattern = MusicLM(model.config.lm).to(device), model.config.pattern
    num_frames = max(1, round(duration_s * model.model.codec.frame_rate_hz))
    codes = torch.randint(lm.config.codebook_size, (batch_size, lm.config.num_codebooks, num_frames), device=device)
    # The trainer's own: torch's default has four times as many parallel regions on a CPU, and threads wait at each.
    optimizer = make_optimizer(AdamWConfig(), dict(lm.named_parameters()), lm)

    def step() -> None:
        with forward_precision(precision, device):
            loss = _loss(lm, pattern, codes)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def measured() -> Values:
        return {"seconds": timed(step, device)}

    step()
    forget_peak(device)
    flops = count_flops(step)
    values = measure(measured, {"busy": with_busy(num_busy, measured)} if num_busy else {}, repeats)
    machine = machine_info(model)
    ceiling = measure_ceiling(device, DTYPES[precision]).flops_per_s
    seconds = values["seconds"]
    return {
        "what": "train",
        "audio_s": batch_size * duration_s,
        "batch_size": batch_size,
        "num_busy": num_busy,
        **values,
        "steps_per_s": 1 / seconds,
        "real_time_factor": seconds / (batch_size * duration_s),
        "flops_per_s": flops / seconds,
        "ceiling_flops_per_s": ceiling,
        "share_of_ceiling": flops / seconds / ceiling,
        **machine,
        "precision": precision,
    }


def _loss(lm: MusicLM, pattern: Pattern, codes: torch.Tensor) -> torch.Tensor:
    num_frames = codes.shape[-1]
    length = pattern.training_length(num_frames)
    sequence = interleave(codes, pattern.steps(num_frames), length, empty=lm.special_code)
    return pattern_cross_entropy(lm(sequence), codes, pattern)[0]
