"""Positions of steps: sinusoidal ones are added to hidden states, rotary ones rotate queries and keys."""

import torch
from jaxtyping import Float
from torch import Tensor


def sinusoidal(
    num_steps: int, width: int, *, start: int = 0, device: torch.device | None = None
) -> Float[Tensor, "S D"]:
    """Sinusoidal positions from ``start`` on: cosines in the first half of an even width, sines in the second.

    The slowest wave has period 2 pi * 10000 exactly, since the exponents run to 1 over half - 1 (as in audiocraft's
    create_sin_embedding; arXiv 1706.03762 divides by half). Always float32: in half precision the phases would be
    wrong by radians after a thousand steps. Round the result instead.
    """
    half = width // 2
    exponents = torch.arange(half, device=device, dtype=torch.float32) / max(half - 1, 1)
    steps = torch.arange(start, start + num_steps, device=device, dtype=torch.float32)
    phases = steps[:, None] / 10_000.0**exponents
    return torch.cat([phases.cos(), phases.sin()], dim=-1)


def rotary(num_steps: int, head_dim: int, *, device: torch.device | None = None) -> Float[Tensor, "S E"]:
    """Cosines (first half) and sines of the angles by which rotary positions rotate pairs (arXiv 2104.09864).

    An attention score then depends on the distance of two steps and not on their places, so that what was learned
    about the previous bar holds for every bar.
    """
    exponents = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim
    steps = torch.arange(num_steps, device=device, dtype=torch.float32)
    angles = steps[:, None] / 10_000.0**exponents
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def rotate(vectors: Float[Tensor, "*rows S E"], rotary: Float[Tensor, "S E"]) -> Float[Tensor, "*rows S E"]:
    """Queries or keys rotated by their positions; coordinate i of the first half and of the second are a pair."""
    cosines, sines = rotary.to(vectors.dtype).chunk(2, dim=-1)
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)
