"""Samples at another rate, in another number of channels, or louder."""

import logging
import math

import numpy as np
import soxr
import torch
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor

from descant.audio.loudness import integrated_loudness

PEAK_LIMIT = 0.99
"""The largest absolute sample after a gain was chosen here: lossy encoders overshoot a little."""

CANCELLED_DB = -40.0
"""How far below its channels their mean must be to count as silence made by cancellation."""

_log = logging.getLogger("descant")


def resample(samples: Float[Tensor, "C N"], from_hz: int, to_hz: int) -> Float[Tensor, "C N_out"]:
    """The samples at another rate (soxr, high quality), on the CPU."""
    interleaved = rearrange(samples.detach().cpu(), "C N -> N C").numpy()
    resampled = soxr.resample(np.ascontiguousarray(interleaved), from_hz, to_hz, quality="HQ")
    return rearrange(torch.from_numpy(resampled), "N C -> C N").contiguous()


def mix(samples: Float[Tensor, "C N"], num_channels: int) -> Float[Tensor, "C_out N"]:
    """The mean of all channels in each of ``num_channels``; where channels cancel, that is logged as a warning."""
    mono = samples.mean(dim=0)
    power, mono_power = samples.square().mean().item(), mono.square().mean().item()
    if len(samples) > 1 and mono_power < power * 10 ** (CANCELLED_DB / 10):
        _log.warning(
            "the channels of this clip cancel each other: their mean is silent or nearly so. One of them is probably "
            "inverted; use a single channel (ffmpeg -i INPUT -af pan=mono|c0=c0 OUTPUT)"
        )
    return repeat(mono, "N -> C N", C=num_channels).contiguous()


def loudness_gain(samples: Float[Tensor, "C N"], sample_rate_hz: int, lufs: float) -> float:
    """The gain to an integrated loudness of ``lufs``, limited to a peak of ``PEAK_LIMIT``; 1 for silence."""
    now = integrated_loudness(samples, sample_rate_hz)
    if now == -math.inf:
        return 1.0
    return min(10 ** ((lufs - now) / 20), PEAK_LIMIT / samples.abs().max().item())
