"""Clips for tests: noise and sines."""

import math

import torch

from descant.audio import Clip


def noise(num_channels: int = 1, duration_s: float = 0.5, rate_hz: int = 32_000, scale: float = 0.3) -> Clip:
    """Noise on the grid of 16-bit integers, so that no rounding hides a mistake."""
    generator = torch.Generator().manual_seed(num_channels)
    samples = torch.rand(num_channels, round(duration_s * rate_hz), generator=generator) * 2 - 1
    return Clip((samples * scale * 32768).round() / 32768, rate_hz)


def sine(frequency_hz: float, duration_s: float = 1.0, rate_hz: int = 32_000, num_channels: int = 1) -> Clip:
    phase = 2 * math.pi * frequency_hz * torch.arange(round(duration_s * rate_hz), dtype=torch.float64) / rate_hz
    return Clip(torch.sin(phase).float().repeat(num_channels, 1), rate_hz)
