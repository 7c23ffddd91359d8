"""Positions added to what a transformer reads."""

import torch
from jaxtyping import Float
from torch import Tensor


def sinusoidal(
    num_steps: int, width: int, *, start: int = 0, device: torch.device | None = None
) -> Float[Tensor, "S D"]:
    """Sinusoidal positions from ``start`` on: cosines in the first half of an even width, sines in the second.

    The slowest wave has period 2 pi * 10000 exactly, since the exponents run to 1 over half - 1 (as in audiocraft's
    create_sin_embedding; arXiv 1706.03762 divides by half). Always float32: in half precision the phases would be
    wrong by radians after a thousand steps. Compute here, round afterwards.
    """
    half = width // 2
    exponents = torch.arange(half, device=device, dtype=torch.float32) / max(half - 1, 1)
    steps = torch.arange(start, start + num_steps, device=device, dtype=torch.float32)
    phases = steps[:, None] / 10_000.0**exponents
    return torch.cat([phases.cos(), phases.sin()], dim=-1)
