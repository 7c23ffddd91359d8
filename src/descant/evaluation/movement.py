"""Does the music move? Holds, chord changes, onsets and repetition at the bar, and how usual they are.

None of these is better the higher it is: a clip is compared with the same measures of real music
(``within_reference``). They do not depend on loudness, sample rate or number of channels.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant.audio import Clip
from descant.codec.mel import mel_filters
from descant.errors import InvalidRequest
from descant.evaluation.harmony import FRAME_S, PitchClasses, chord_path, pitch_classes
from descant.evaluation.musical import onsets_per_second
from descant.evaluation.spectra import spectrogram

SHORTEST_S = 2.0
SAME_SOUND = 0.9
"""The least cosine of two frames' pitch classes that counts as the same sound: a new note of the same loudness as one
that stays gives 0.7."""
SMOOTHED_FRAMES = 5

SHORTEST_BAR_S, LONGEST_BAR_S = 1.0, 4.0
SHORTEST_GIVEN_BAR_S = 0.1
"""After a shorter time every clip resembles itself: onsets are smoothed over 0.06 s."""
BAR_TOLERANCE = 0.02
"""How far the repetition may be from the bar's length: tempi are stated in whole numbers, and performers are human."""
ONSET_RATE_HZ, ONSET_WINDOW, ONSET_HOP, ONSET_BANDS = 22_050, 1_024, 256, 40
ONSET_SMOOTHED_FRAMES = 5
ONSET_FLOOR = 1e-4

LOWEST_PERCENTILE, HIGHEST_PERCENTILE = 5.0, 95.0
MIN_REFERENCE = 20
"""Fewer values have no 5th percentile."""

USUAL_HOLD_S, USUAL_ONSETS_PER_SECOND = 3.0, 1.9
"""The 95th percentile of longest holds and the 5th of onset rates in ten seconds of 120 held-out pieces of the
starter's corpus. The holds hardly depend on the length: 2.9 s in thirty seconds."""
HELD_WORDS = frozenset(
    ("ambient", "atmosphere", "atmospheric", "drone", "drones", "held", "pad", "pads", "static", "still", "sustained")
)
"""Words of prompts that ask for sounds which stay."""


@dataclass(frozen=True, kw_only=True)
class Movement:
    """The measures of one clip; None where one is not defined: nothing has a pitch, or no bar fits twice."""

    longest_hold_s: float | None
    chord_changes_per_minute: float | None
    onsets_per_second: float
    bar_self_similarity: float | None


@dataclass(frozen=True)
class Placement:
    """Where a value stands among those of a reference set: its percentile, and whether that is from 5 to 95."""

    value: float
    percentile: float
    is_typical: bool


def measure_movement(clip: Clip, bar_s: float | None = None) -> Movement:
    """All measures of a clip.

    Args:
        bar_s: the length of a bar, if it is known.

    Raises:
        InvalidRequest: the clip is shorter than two seconds, or ``bar_s`` below 0.1.
        MissingExtra: librosa is not installed.
    """
    if clip.duration_s < SHORTEST_S:
        raise InvalidRequest(f"a clip of {clip.duration_s:g} s: movement is measured from {SHORTEST_S:g} s on")
    pitches = pitch_classes(clip)
    return Movement(
        longest_hold_s=_longest_hold_s(pitches),
        chord_changes_per_minute=_chord_changes_per_minute(pitches),
        onsets_per_second=onsets_per_second(clip),
        bar_self_similarity=bar_self_similarity(clip, bar_s),
    )


def longest_hold_s(clip: Clip) -> float | None:
    """The longest time in seconds in which the sounding pitch classes stay the same, or None if nothing has a pitch.

    A note or a chord that is held, struck again or doubled in other octaves counts as the same. A drone under a moving
    melody does not: what sounds changes. Drums neither end a hold nor are one, and silence ends it. Exact to the frame
    of 0.1 s and about 0.3 s at either end, where the windows of two notes overlap.
    """
    return _longest_hold_s(pitch_classes(clip))


def chord_changes_per_minute(clip: Clip) -> float | None:
    """How often the best-fitting major or minor triad changes per minute, or None if nothing has a pitch.

    A melody alone has those of the triads that it implies. A triad that shares one note with its neighbours is found if
    it lasts half a second, one that shares two a second.
    """
    return _chord_changes_per_minute(pitch_classes(clip))


def bar_self_similarity(clip: Clip, bar_s: float | None = None) -> float | None:
    """How much the clip resembles itself a bar later: 1 if every bar is the same, about 0 if bars are unrelated.

    The normalised autocorrelation of the onset strength in 40 mel bands, at the bar's length or at most 2 % off. That
    hears rhythm and, through the bands, melody; the autocorrelation of onsets is how metre is estimated (Gouyon et al.,
    IEEE TASLP 14(5), 2006). It is at least -1. None if the clip is silent or shorter than two bars.

    Args:
        bar_s: by default the lag from one to four seconds at which the clip resembles itself most.

    Raises:
        InvalidRequest: ``bar_s`` is below 0.1.
    """
    if bar_s is not None and not bar_s >= SHORTEST_GIVEN_BAR_S:
        raise InvalidRequest(f"bar_s={bar_s:g}: a bar lasts {SHORTEST_GIVEN_BAR_S:g} s at least")
    shortest_s, longest_s = (SHORTEST_BAR_S, LONGEST_BAR_S) if bar_s is None else (bar_s, bar_s)
    longest_s = min(longest_s, clip.duration_s / 2)
    if longest_s < shortest_s:
        return None
    onsets = _band_onsets(clip)
    frames_per_s = ONSET_RATE_HZ / ONSET_HOP
    first = int(shortest_s * (1 - BAR_TOLERANCE) * frames_per_s)
    last = int(longest_s * (1 + BAR_TOLERANCE) * frames_per_s) + 1
    if not onsets.any() or last >= onsets.shape[1]:
        return None
    return _autocorrelation(onsets)[first : last + 1].max().item()


def within_reference(values: Movement, reference: Sequence[Movement]) -> dict[str, Placement]:
    """Each measure's place among those of a reference set, such as real music of the same kind.

    The percentile is the share of reference values below, equal ones counted half. Measures that are None are left out,
    in the clip and in the reference.

    Raises:
        InvalidRequest: fewer than 20 clips of the reference have one of the clip's measures.
    """
    placements = {}
    for name, value in asdict(values).items():
        known = np.array([known for clip in reference if (known := getattr(clip, name)) is not None])
        if value is None:
            continue
        if len(known) < MIN_REFERENCE:
            raise InvalidRequest(
                f"{len(known)} reference clips have {name}: percentiles need at least {MIN_REFERENCE}, add more music"
            )
        percentile = 100 * float((known < value).mean() + (known == value).mean() / 2)
        low, high = np.percentile(known, [LOWEST_PERCENTILE, HIGHEST_PERCENTILE])
        placements[name] = Placement(value, percentile, bool(low <= value <= high))
    return placements


def movement_fit(movement: Movement) -> float:
    """From 0 to 1: 1 for usual holds and onsets, and less the longer a sound is held or the fewer notes begin."""
    hold = 1.0 if movement.longest_hold_s is None else USUAL_HOLD_S / max(movement.longest_hold_s, USUAL_HOLD_S)
    return min(hold, movement.onsets_per_second / USUAL_ONSETS_PER_SECOND, 1.0)


def may_stand_still(text: str | None) -> bool:
    """Whether a prompt asks for sounds that are held, by its words."""
    return text is not None and not HELD_WORDS.isdisjoint(re.findall("[a-z]+", text.lower()))


def _longest_hold_s(pitches: PitchClasses) -> float | None:
    # The median removes what is shorter than half its length, such as a stroke that hides the pitches.
    half = SMOOTHED_FRAMES // 2
    pitched = pitches.strengths * pitches.is_pitched[:, None]
    padded = F.pad(pitched.T[None], (half, half), mode="replicate")[0]
    sounds = F.normalize(padded.unfold(1, SMOOTHED_FRAMES, 1).median(dim=2).values.T, dim=1, eps=1e-9)
    is_held = sounds.any(dim=1)
    if not is_held.any():
        return None
    num_frames = 1
    while len(is_held) > 1:
        # is_held[t] becomes: the frames from t to t + num_frames sound as frame t.
        is_held = is_held[:-1] & ((sounds[:-num_frames] * sounds[num_frames:]).sum(dim=1) >= SAME_SOUND)
        if not is_held.any():
            break
        num_frames += 1
    return round(num_frames * FRAME_S, 1)


def _chord_changes_per_minute(pitches: PitchClasses) -> float | None:
    if not pitches.is_pitched.any():
        return None
    path = chord_path(pitches.strengths)
    return float((np.diff(path) != 0).sum() * 60 / (len(path) * FRAME_S))


def _band_onsets(clip: Clip) -> Float[Tensor, "bands T"]:
    """How much each band rises in each frame, its mean over time removed."""
    wave = clip.to_channels(1).resample(ONSET_RATE_HZ).samples[0].cpu()
    filters = mel_filters(sample_rate_hz=ONSET_RATE_HZ, window=ONSET_WINDOW, num_mels=ONSET_BANDS)
    mel = filters.T @ spectrogram(wave, ONSET_WINDOW, ONSET_HOP)
    level = (mel / mel.max().clamp_min(1e-30)).clamp_min(ONSET_FLOOR).log()
    rises = F.avg_pool1d(level.diff(dim=1).clamp_min(0)[None], ONSET_SMOOTHED_FRAMES, 1, ONSET_SMOOTHED_FRAMES // 2)[0]
    return rises - rises.mean(dim=1, keepdim=True)


def _autocorrelation(onsets: Float[Tensor, "bands T"]) -> Float[Tensor, " T"]:
    """The correlation of the overlapping parts at every lag, over all bands."""
    num_frames = onsets.shape[1]
    spectrum = torch.fft.rfft(onsets.double(), n=2 * num_frames)
    products = torch.fft.irfft(spectrum.abs().square(), n=2 * num_frames)[:, :num_frames].sum(dim=0)
    energy = onsets.double().square().sum(dim=0)
    first_part = energy.cumsum(dim=0).flip(0)  # of the frames before the last ``lag``
    second_part = energy.flip(0).cumsum(dim=0).flip(0)  # of the frames from ``lag`` on
    return products / (first_part * second_part).sqrt().clamp_min(1e-30)
