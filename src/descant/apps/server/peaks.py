"""Peaks: the outline of a wave, as audiowaveform writes it (its JSON, version 2)."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from descant.audio import Clip

BITS = 8
LARGEST = 2 ** (BITS - 1) - 1


def peaks_of_file(path: Path, per_s: int) -> dict[str, Any]:
    """The peaks of an audio file."""
    clip = Clip.read(path)
    return peaks(clip.samples, clip.sample_rate_hz, per_s)


def peaks(samples: Float[Tensor, "C N"], sample_rate_hz: int, per_s: int) -> dict[str, Any]:
    """Lowest and highest sample of every stretch, ``per_s`` of them a second; all channels as one."""
    each = max(1, round(sample_rate_hz / per_s))
    wave = samples.numpy()
    num_stretches = -(-wave.shape[1] // each)
    padded = np.pad(wave, ((0, 0), (0, num_stretches * each - wave.shape[1])), mode="edge") if wave.size else wave
    stretches = padded.reshape(len(wave), num_stretches, each)
    lowest, highest = stretches.min(axis=(0, 2)), stretches.max(axis=(0, 2))
    data = np.stack([lowest, highest], axis=1) * LARGEST
    return {
        "version": 2,
        "channels": 1,
        "sample_rate": sample_rate_hz,
        "samples_per_pixel": each,
        "bits": BITS,
        "length": num_stretches,
        "data": np.rint(data).clip(-LARGEST - 1, LARGEST).astype(int).ravel().tolist(),
    }
