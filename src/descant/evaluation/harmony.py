"""Pitch classes and chords of a clip over time.

Pitch is read from the peaks of the spectrum that stand out from their surroundings, as strings, pipes and voices make
them. The noise of drums has no such peaks, so nothing needs to be separated first. Overtones are left out, so that a
rich low note does not outweigh a quiet melody.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from descant.audio import Clip

SAMPLE_RATE_HZ = 22_050
HOP = 2_205
FRAME_S = HOP / SAMPLE_RATE_HZ
WINDOW = 4_096
"""186 ms: lines a semitone apart are separate from 360 Hz on, and the strokes of a roll are no lines yet."""
LOWEST_HZ, HIGHEST_HZ = 55.0, 5_000.0
PROMINENCE = 4.0
"""The least ratio of a peak to the median around it: the magnitude of white noise exceeds it once in 60,000 bins."""
SURROUNDINGS_BINS = 31
"""165 Hz: half of them are the noise between the lines of a chord."""
FLOOR = 1e-3
"""The smallest peak that counts, relative to the clip's highest: 60 dB below."""
PITCHED_SHARE = 0.5
"""A frame with less of its power in peaks is unpitched: a drum kit has 0.2, a snare roll 0.5, other instruments 0.9."""

OVERTONES = range(2, 9)
OVERTONE_TOLERANCE = 0.018
OVERTONE_RATIO = 0.5
"""A peak at a multiple of another is an overtone unless it is more than twice as high."""

CENTRE_HZ, WIDTH_OCTAVES = 262.0, 2.0
"""How much each octave counts: a Gaussian around middle C, from bass to lead."""

Template: TypeAlias = frozenset[int]
"""The pitch classes of a chord; 0 is C."""
TRIADS: tuple[Template, ...] = tuple(
    frozenset((root + interval) % 12 for interval in (0, third, 7)) for third in (4, 3) for root in range(12)
)
"""The twelve major triads from C up, then the minor ones."""
CHANGE_COST = 1.5
"""How much better another chord must fit, summed over frames, to be a change."""

_CHUNK_FRAMES = 256


@dataclass(frozen=True, eq=False)
class PitchClasses:
    """The pitch classes of a clip in frames of 0.1 s.

    Args:
        strengths: C first, of unit length in each frame; zeros in frames without peaks.
        is_pitched: whether at least half of the frame's power from 55 to 5,000 Hz is in peaks.
    """

    strengths: Float[Tensor, "T 12"]
    is_pitched: Bool[Tensor, " T"]


@dataclass(frozen=True, eq=False)
class _Peaks:
    """The prominent peaks of some frames, one entry each, and the share of each frame's power that is in them."""

    frame: Int[Tensor, " peaks"]
    hz: Float[Tensor, " peaks"]
    magnitude: Float[Tensor, " peaks"]
    power_share: Float[Tensor, " T"]


def pitch_classes(clip: Clip) -> PitchClasses:
    """The pitch classes of a clip, independent of its loudness. Channels are averaged; silence has none.

    A peak counts with the square root of its magnitude, so that quiet voices count too, and the less the further it is
    from the nearest semitone of A = 440 Hz.
    """
    wave = clip.to_channels(1).resample(SAMPLE_RATE_HZ).samples[0].cpu()
    num_frames = -(-len(wave) // HOP)
    padded = F.pad(wave, (WINDOW // 2, WINDOW // 2 + HOP))
    chunks = [_peaks_of(windows) for windows in padded.unfold(0, WINDOW, HOP)[:num_frames].split(_CHUNK_FRAMES)]
    floor = FLOOR * max((chunk.magnitude.max().item() for chunk in chunks if len(chunk.magnitude)), default=0.0)
    return PitchClasses(
        strengths=torch.cat([_strengths_of(chunk, floor) for chunk in chunks]),
        is_pitched=torch.cat([chunk.power_share >= PITCHED_SHARE for chunk in chunks]),
    )


def chord_path(strengths: Float[Tensor, "T 12"], templates: Sequence[Template] = TRIADS) -> Int[np.ndarray, " T"]:
    """The index of each frame's template, in the sequence of templates that fits best in total.

    The fit of a template is its cosine with the frame's strengths, and each change costs ``CHANGE_COST``, which is
    Viterbi's algorithm with equal transitions (Cho and Bello, "On the relative importance of individual components of
    chord recognition systems", IEEE TASLP 22(2), 2014). Frames without peaks keep the chord around them.
    """
    matrix = torch.zeros(len(templates), 12)
    for row, template in zip(matrix, templates, strict=True):
        row[list(template)] = len(template) ** -0.5
    fit = (strengths @ matrix.T).double().numpy()
    total, came_from = fit[0], np.zeros(fit.shape, dtype=np.int64)
    for time in range(1, len(fit)):
        best = total.argmax()
        changed = total[best] - CHANGE_COST
        came_from[time] = np.where(total >= changed, np.arange(len(templates)), best)
        total = np.maximum(total, changed) + fit[time]
    path = np.full(len(fit), total.argmax())
    for time in range(len(fit) - 1, 0, -1):
        path[time - 1] = came_from[time, path[time]]
    return path


def _peaks_of(windows: Float[Tensor, "T N"]) -> _Peaks:
    first, last = (int(hz * WINDOW / SAMPLE_RATE_HZ) for hz in (LOWEST_HZ, HIGHEST_HZ))
    spectrum = torch.fft.rfft(windows * torch.hann_window(WINDOW)).abs()[:, first - 1 : last + 2]
    half = SURROUNDINGS_BINS // 2
    around = F.pad(spectrum[:, None], (half, half), mode="reflect")[:, 0].unfold(1, SURROUNDINGS_BINS, 1)
    inner = spectrum[:, 1:-1]
    is_peak = inner > PROMINENCE * around[:, 1:-1].median(dim=2).values
    is_peak &= (inner > spectrum[:, :-2]) & (inner >= spectrum[:, 2:])
    main_lobes = F.max_pool1d(is_peak.float()[:, None], 5, 1, 2)[:, 0]
    power = inner.square()
    frame, index = is_peak.nonzero(as_tuple=True)
    # A parabola through three log magnitudes (Smith and Serra, PARSHL, 1987).
    below, at, above = (spectrum[frame, index + offset].clamp_min(1e-30).log() for offset in (0, 1, 2))
    offset = (below - above) / (2 * (below - 2 * at + above).clamp_max(-1e-9))
    return _Peaks(
        frame=frame,
        hz=(first + index + offset) * SAMPLE_RATE_HZ / WINDOW,
        magnitude=at.exp(),
        power_share=(power * main_lobes).sum(dim=1) / power.sum(dim=1).clamp_min(1e-30),
    )


def _strengths_of(peaks: _Peaks, floor: float) -> Float[Tensor, "T 12"]:
    """The strengths in each frame, from the peaks that are no overtones."""
    strengths = torch.zeros(len(peaks.power_share), 12)
    loud = peaks.magnitude >= floor
    frame, hz, magnitude = peaks.frame[loud], peaks.hz[loud], peaks.magnitude[loud]
    sizes = torch.bincount(frame, minlength=len(strengths)).tolist()
    parts = zip(hz.split(sizes), magnitude.split(sizes), strict=True)
    is_note = torch.cat([~_are_overtones(*part) for part in parts])
    frame, hz, magnitude = frame[is_note], hz[is_note], magnitude[is_note]
    pitch = 69 + 12 * torch.log2(hz / 440)
    octaves = torch.log2(hz / CENTRE_HZ) / WIDTH_OCTAVES
    weight = torch.exp(-octaves.square() / 2) * magnitude.sqrt() * (1 - (pitch - pitch.round()).abs())
    strengths.index_put_((frame, pitch.round().long() % 12), weight, accumulate=True)
    return F.normalize(strengths, dim=1, eps=1e-15)


def _are_overtones(hz: Float[Tensor, " peaks"], magnitude: Float[Tensor, " peaks"]) -> Bool[Tensor, " peaks"]:
    """Which of the peaks of one frame are near a small multiple of another that is high enough to explain them."""
    ratio = hz[:, None] / hz[None, :]
    order = ratio.round()
    is_near = (ratio / order.clamp_min(1) - 1).abs() < OVERTONE_TOLERANCE
    is_near &= (order >= OVERTONES.start) & (order < OVERTONES.stop)
    return (is_near & (magnitude[None, :] >= OVERTONE_RATIO * magnitude[:, None])).any(dim=1)
