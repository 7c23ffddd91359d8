"""The tempo of a recording with the probability that it is right.

Every tempo on a grid gets a score from a small network, by how much the recording resembles itself after one beat, two
beats, a half, a third and so on, in its bass, its treble and as a whole. So the metre around a tempo decides between it
and its half, double or two thirds, which the beat alone cannot. How dense, how percussive and how bright the music is
counts too: a slow air and a dance may have the same delays. The weights were fitted to music whose tempo is known; a
softmax of the scores gives probabilities.
"""

from dataclasses import dataclass

import numpy as np
from einops import reduce
from jaxtyping import Bool, Float
from torch import Tensor

from descant.audio import Clip
from descant.codec.mel import mel_filters
from descant.curation.weights import tempo_network
from descant.evaluation.spectra import spectrogram

SAMPLE_RATE_HZ = 16_000
WINDOW, HOP, BANDS = 1_024, 192, 40
FRAMES_PER_S = SAMPLE_RATE_HZ / HOP
SHORTEST_S = 5.0
"""Less holds too few bars."""
SLOWEST_BPM, STEP, NUM_TEMPI = 45.0, 1.01, 166
TEMPI_BPM = SLOWEST_BPM * STEP ** np.arange(NUM_TEMPI)
"""From 45 to 232 bpm in steps of 1 %."""
RATIOS = (1 / 4, 1 / 3, 1 / 2, 2 / 3, 3 / 4, 1, 3 / 2, 2, 3, 4, 6, 8)
"""Delays in beats at which the recording is compared with itself."""
COMMON_RATIOS = ((1, 1 / 2), (1, 1 / 3), (1, 2), (2, 4))
"""Delays at both of which music with a clear metre resembles itself."""
USUAL_BPM = 110.0
TOLERANCE = 0.04
"""Estimates this close to the tempo are right, and their probabilities are added."""
RELATED = (1.0, 2.0, 1 / 2, 3.0, 1 / 3, 3 / 2, 2 / 3, 4.0, 1 / 4)
"""Ratios of tempi that people and estimators confuse."""
LEVELS = (slice(None), slice(0, 6), slice(24, None))
"""All bands, the bass and the treble."""
BANDS_PER_GROUP = 5
REFINING_BEATS = (8, 4, 2, 1)


@dataclass(frozen=True)
class Tempo:
    """A tempo, the probability that it is right within 4 %, and that it or one of ``RELATED`` to it is."""

    bpm: float
    confidence: float
    confidence_with_related: float


def estimate_tempo(wave: Float[Tensor, " N"]) -> Tempo | None:
    """The tempo of a mono wave at 16 kHz; None if it is silent or shorter than five seconds."""
    if len(wave) < SHORTEST_S * SAMPLE_RATE_HZ or not wave.any():
        return None
    loudness = log_loudness(wave)
    scores = tempo_network().scores(tempo_features(loudness))
    probabilities = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    best = int(scores.argmax())
    near = is_related(TEMPI_BPM / TEMPI_BPM[best], (1.0,))
    related = is_related(TEMPI_BPM / TEMPI_BPM[best], RELATED)
    resemblance = _autocorrelation(_onsets(loudness).mean(axis=0))
    return Tempo(
        bpm=_refined(resemblance, float(TEMPI_BPM[best])),
        confidence=float(probabilities[near].sum()),
        confidence_with_related=float(probabilities[related].sum()),
    )


def tempo_of(clip: Clip) -> Tempo | None:
    """The tempo of a clip at any rate; None if it is silent or shorter than five seconds."""
    # The shortest clips have no sample at the rate of the estimate.
    if clip.duration_s < SHORTEST_S:
        return None
    return estimate_tempo(clip.to_channels(1).resample(SAMPLE_RATE_HZ).samples[0])


def is_related(
    ratio: Float[np.ndarray, " tempi"], to: tuple[float, ...] = RELATED, tolerance: float = TOLERANCE
) -> Bool[np.ndarray, " tempi"]:
    """Which ratios of two tempi are within the tolerance of one of these."""
    return (np.abs(np.log(ratio[:, None] / np.array(to))) <= np.log1p(tolerance)).any(axis=1)


def log_loudness(wave: Float[Tensor, " N"]) -> Float[np.ndarray, "bands T"]:
    """The logarithm of the magnitude in each mel band of a mono wave at 16 kHz, from 0 for silence; level-free."""
    filters = mel_filters(sample_rate_hz=SAMPLE_RATE_HZ, window=WINDOW, num_mels=BANDS)
    mel = (filters.T @ spectrogram(wave, WINDOW, HOP)).numpy()
    return np.log1p(1_000 * mel / mel.max())


def tempo_features(loudness: Float[np.ndarray, "bands T"]) -> Float[np.ndarray, "tempi features"]:
    """What the score of each tempo depends on; the last ones are of the recording, and the same for all tempi."""
    rises = _onsets(loudness)
    onsets = [rises[bands].mean(axis=0) for bands in LEVELS]
    beats = 60 * FRAMES_PER_S / TEMPI_BPM
    lags = np.arange(rises.shape[1])
    resemblances = {
        (level, ratio): np.interp(beats * ratio, lags, _autocorrelation(strength), right=0)
        for level, strength in enumerate(onsets)
        for ratio in RATIOS
    }
    of_all = {ratio: resemblances[0, ratio] for ratio in RATIOS}
    both = [np.minimum(of_all[one], of_all[other]) for one, other in COMMON_RATIOS]
    products = [of_all[one].clip(0) * of_all[other].clip(0) for one, other in COMMON_RATIOS]
    octaves = np.log2(TEMPI_BPM / USUAL_BPM)
    onsets_per_s = [np.log2(max(_onsets_per_s(strength), 0.1)) for strength in onsets]
    per_beat = [rate + np.log2(60 / TEMPI_BPM) for rate in onsets_per_s[:2]]
    groups = [
        reduce(values, "(group band) -> group", "mean", band=BANDS_PER_GROUP)
        for of_bands in (rises, loudness)
        for values in (of_bands.mean(axis=1), of_bands.std(axis=1))
    ]
    of_recording = np.concatenate([*groups, onsets_per_s])
    return np.stack(
        [
            *resemblances.values(),
            *both,
            *products,
            *(power for count in per_beat for power in (count, count**2)),
            octaves,
            octaves**2,
            *(np.full(NUM_TEMPI, value) for value in of_recording),
        ],
        axis=1,
    )


def _onsets(loudness: Float[np.ndarray, "bands T"]) -> Float[np.ndarray, "bands moments"]:
    return np.diff(loudness, axis=1).clip(0)


def _onsets_per_s(strength: Float[np.ndarray, " T"]) -> float:
    """How many peaks of the onset strength, half a deviation above its mean, there are in a second."""
    smooth = np.convolve(strength, (0.25, 0.5, 0.25), "same")
    before, at, after = smooth[:-2], smooth[1:-1], smooth[2:]
    is_peak = (at > before) & (at >= after) & (at > smooth.mean() + smooth.std() / 2)
    return float(is_peak.sum() * FRAMES_PER_S / len(strength))


def _autocorrelation(onsets: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    second = round(FRAMES_PER_S)
    centred = onsets - np.convolve(onsets, np.ones(second) / second, "same")
    size = len(centred)
    products = np.fft.irfft(np.abs(np.fft.rfft(centred, 2 * size)) ** 2, 2 * size)[:size]
    # The overlap shrinks with the delay; beyond three quarters of the wave it is too short to divide by.
    products /= np.maximum(size - np.arange(size), size / 4)
    return np.convolve(products / max(products[0], 1e-12), (0.25, 0.5, 0.25), "same")


def _refined(resemblance: Float[np.ndarray, " lags"], bpm: float) -> float:
    """The tempo at the peak nearest to the longest delay that the wave holds twice."""
    for num_beats in REFINING_BEATS:
        lag = num_beats * 60 * FRAMES_PER_S / bpm
        first, last = int(lag / STEP), int(np.ceil(lag * STEP)) + 1
        if last + 1 < len(resemblance) / 2 and last - first >= 2:
            peak = first + int(resemblance[first : last + 1].argmax())
            below, at, above = resemblance[peak - 1 : peak + 2]
            curve = below - 2 * at + above
            offset = 0.0 if curve >= 0 else float(np.clip((below - above) / (2 * curve), -0.5, 0.5))
            return 60 * FRAMES_PER_S * num_beats / (peak + offset)
    return bpm
