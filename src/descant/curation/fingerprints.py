"""Fingerprints that find the same recording again: in another format, at another level or rate, shifted or in part.

A fingerprint is the constellation of Wang, "An industrial-strength audio search algorithm" (ISMIR 2003): peaks of the
spectrogram, each paired with the next few. A pair is one number, from two frequencies and the time between them, and
does not depend on level, format or position. Two clips of one recording have many pairs in common, all at one offset.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int32
from torch import Tensor
from torch.nn import functional as F

from descant.evaluation.spectra import spectrogram

SAMPLE_RATE_HZ = 8_000
"""What remains of any copy that is worth finding; music at 8 kHz is recognised too."""
WINDOW, HOP = 1_024, 256
FRAME_S = HOP / SAMPLE_RATE_HZ

_REACH_BINS, _REACH_FRAMES = 8, 4
"""A peak is the largest value this far around it."""
_FLOOR = 1e-3
"""The smallest peak, relative to the clip's highest: 60 dB below."""
_PEAKS_PER_S = 24
_PARTNERS = 6
_MAX_STEPS = 63
_MAX_BINS = 255


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The pairs of a clip in the order of time: their numbers, and the frames of 32 ms at which they begin."""

    hashes: Int32[np.ndarray, " pairs"]
    frames: Int32[np.ndarray, " pairs"]
    num_frames: int


def fingerprint(wave: Float[Tensor, " N"]) -> Fingerprint:
    """The fingerprint of a mono wave at 8 kHz; one shorter than a window has no pairs."""
    if len(wave) < WINDOW:
        return Fingerprint(np.zeros(0, np.int32), np.zeros(0, np.int32), 0)
    magnitudes = spectrogram(wave, WINDOW, HOP)
    bins, frames = _peaks(magnitudes)
    hashes, starts = [], []
    for step in range(1, _PARTNERS + 1):
        # Peaks are in the order of time, so the next ones are the partners.
        wait, rise = frames[step:] - frames[:-step], bins[step:] - bins[:-step]
        is_near = (wait <= _MAX_STEPS) & (np.abs(rise) <= _MAX_BINS)
        # The wait is in the lowest bits: neighbours of a number are other waits between the same frequencies.
        number = (bins[:-step] << 15) | ((rise + _MAX_BINS + 1) << 6) | wait
        hashes.append(number[is_near])
        starts.append(frames[:-step][is_near])
    joined, starting = np.concatenate(hashes), np.concatenate(starts)
    order = np.argsort(starting, kind="stable")
    return Fingerprint(joined[order].astype(np.int32), starting[order].astype(np.int32), magnitudes.shape[1])


def _peaks(magnitudes: Float[Tensor, "bins T"]) -> tuple[np.ndarray, np.ndarray]:
    """Bins and frames of the peaks, sorted by time, at most so many in a second."""
    level = magnitudes[None]
    size = (2 * _REACH_BINS + 1, 2 * _REACH_FRAMES + 1)
    around = F.max_pool2d(level, size, 1, (_REACH_BINS, _REACH_FRAMES))
    is_peak = (level == around) & (level > _FLOOR * level.max())
    is_peak[:, :4] = False  # below 31 Hz
    _, bins, frames = is_peak.nonzero(as_tuple=True)
    # Of each second the highest ones, so that sparse and dense music have as many.
    heights = magnitudes[bins, frames]
    second = (frames * FRAME_S).long()
    order = torch.argsort(heights, descending=True)
    order = order[torch.argsort(second[order], stable=True)]
    rank = torch.arange(len(order)) - torch.searchsorted(second[order], second[order])
    kept = order[rank < _PEAKS_PER_S]
    kept = kept[np.lexsort((bins[kept].numpy(), frames[kept].numpy()))]
    return bins[kept].numpy(), frames[kept].numpy()
