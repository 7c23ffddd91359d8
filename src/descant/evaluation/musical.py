"""Estimates from audio: tempo, key, onsets, and spectral flatness (music or noise)."""

from types import ModuleType
from typing import Literal

import numpy as np
from jaxtyping import Float

from descant.audio import Clip
from descant.audio.analysis import import_librosa
from descant.errors import MissingExtra
from descant.evaluation.spectra import spectrogram
from descant.tempo_key import NOTES

SAMPLE_RATE_HZ = 22_050
HOP = 256
"""11.6 ms between onset values: with librosa's 23 ms, adjacent tempi near 120 bpm are 5 % apart."""

TempoMatch = Literal["same", "double", "half", "triple", "third", "two thirds", "three halves", "other"]

_RATIOS: dict[TempoMatch, float] = {
    "same": 1, "double": 2, "half": 1 / 2, "triple": 3, "third": 1 / 3, "two thirds": 2 / 3, "three halves": 3 / 2
}  # fmt: skip

# How well each of the twelve notes, from the tonic up, fits a key: probe-tone ratings of listeners (Krumhansl and
# Kessler, Psychological Review 89, 1982).
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


def estimate_tempo_bpm(clip: Clip) -> float | None:
    """The tempo of a beat tracker, or None if it finds fewer than four beats.

    The beats are librosa's (Ellis, "Beat tracking by dynamic programming", 2007), whose prior favours 120 bpm and not
    the target tempo. The tempo is the slope of a line fitted to the beat times, finer than the tracker's own grid.

    Raises:
        MissingExtra: librosa is not installed.
    """
    librosa = require_librosa()
    onsets = _onset_strength(clip)
    _, beats = librosa.beat.beat_track(onset_envelope=onsets, sr=SAMPLE_RATE_HZ, hop_length=HOP, trim=True)
    if len(beats) < 4:
        return None
    seconds_per_beat = np.polyfit(np.arange(len(beats)), beats * HOP / SAMPLE_RATE_HZ, deg=1)[0]
    return float(60 / seconds_per_beat)


def tempo_match(estimated_bpm: float | None, target_bpm: float, tolerance: float = 0.05) -> TempoMatch:
    """The ratio of the estimated to the target tempo that holds within ``tolerance``, else "other".

    "double" means estimated twice as fast. Octave and metre errors are common in tempo estimation even for correct
    music, so they are counted separately (Gouyon et al., IEEE TASLP 14(5), 2006, "accuracy 2").
    """
    if estimated_bpm is None:
        return "other"
    for name, ratio in _RATIOS.items():
        if abs(estimated_bpm / (target_bpm * ratio) - 1) <= tolerance:
            return name
    return "other"


def estimate_key(clip: Clip) -> str | None:
    """The key whose profile correlates best with the clip's notes, such as "C major" or "F# minor"; None for silence.

    The mean chroma is correlated with Krumhansl and Kessler's 24 profiles (Krumhansl, "Cognitive foundations of musical
    pitch", 1990, chapter 4).

    Raises:
        MissingExtra: librosa is not installed.
    """
    librosa, wave = require_librosa(), _mono(clip)
    if not wave.any():
        return None
    chroma = librosa.feature.chroma_cqt(y=wave, sr=SAMPLE_RATE_HZ).mean(axis=1)
    profiles = [np.roll(profile, note) for profile in (_MAJOR, _MINOR) for note in range(12)]
    best = int(np.argmax([np.corrcoef(chroma, profile)[0, 1] for profile in profiles]))
    return f"{NOTES[best % 12]} {'major' if best < 12 else 'minor'}"


def onset_times_s(clip: Clip) -> Float[np.ndarray, " onsets"]:
    """The times at which notes or strokes begin; the detection threshold is relative to the clip's strongest onset.

    Raises:
        MissingExtra: librosa is not installed.
    """
    onsets = require_librosa().onset.onset_detect(
        onset_envelope=_onset_strength(clip), sr=SAMPLE_RATE_HZ, hop_length=HOP
    )
    return np.asarray(onsets, dtype=np.float64) * HOP / SAMPLE_RATE_HZ


def onsets_per_second(clip: Clip) -> float:
    """The mean number of onsets per second of the clip.

    Raises:
        MissingExtra: librosa is not installed.
    """
    return len(onset_times_s(clip)) / clip.duration_s


def spectral_flatness(clip: Clip) -> float | None:
    """How noise-like the clip's loud frames are: 0.56 is expected for white noise, music is far below.

    The geometric over the arithmetic mean of the power spectrum (Johnston, IEEE JSAC 6(2), 1988), as the median of
    the frames within 40 dB of the loudest: silence between notes would count as noise. None for a silent clip.

    Raises:
        InvalidRequest: the clip has less than 1,025 samples.
    """
    power = spectrogram(clip.to_channels(1).samples[0], window=2_048, hop=1_024).square()
    loudness = power.mean(dim=0)
    if loudness.max() == 0:
        return None
    loud = power[:, loudness >= loudness.max() * 1e-4].clamp_min(1e-20)
    return (loud.log().mean(dim=0).exp() / loud.mean(dim=0)).median().item()


def _onset_strength(clip: Clip) -> np.ndarray:
    return require_librosa().onset.onset_strength(y=_mono(clip), sr=SAMPLE_RATE_HZ, hop_length=HOP)


def _mono(clip: Clip) -> np.ndarray:
    return clip.to_channels(1).resample(SAMPLE_RATE_HZ).samples[0].numpy()


def require_librosa() -> ModuleType:
    """The librosa module.

    Raises:
        MissingExtra: it is not installed.
    """
    try:
        return import_librosa("beat", "onset", "feature")
    except ImportError as error:
        raise MissingExtra('estimating tempo and key needs librosa: pip install "descant[eval]"') from error
