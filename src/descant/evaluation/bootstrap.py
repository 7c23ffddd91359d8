"""Bootstrap intervals of measures that are computed from a whole set of clips."""

from collections.abc import Callable

import numpy as np

from descant.errors import InvalidRequest
from descant.evaluation.embedded_clips import EmbedderEstimate
from descant.evaluation.report import CONFIDENCE

NUM_RESAMPLES = 200


def bootstrap_over_clips(
    measure: Callable[[np.ndarray], float], num_clips: int, embedder: str, num_resamples: int, seed: int
) -> EmbedderEstimate:
    """The measure of a set, and the interval in which it varies with the choice of the clips.

    Clips are drawn with replacement, not windows: those of a clip resemble each other. Distances of resampled sets are
    larger than that of the set, since some clips occur twice. The interval is therefore the spread of the resampled
    distances about their own mean, around the measured value. A bias of the measure itself is not part of it.

    Args:
        measure: gets how often each clip occurs in a resample, and returns the measure of that set.
        seed: the same seed draws the same clips.

    Raises:
        InvalidRequest: there are fewer than two clips or resamples.
    """
    if num_clips < 2 or num_resamples < 2:
        raise InvalidRequest(
            f"{num_clips} clips and {num_resamples} resamples: an interval needs at least two of each; give more clips"
        )
    value = measure(np.ones(num_clips))
    generator = np.random.default_rng(seed)
    draws = generator.integers(0, num_clips, (num_resamples, num_clips))
    # A set of one clip many times has no spread between clips, and some measures are not defined for it.
    while (same := (draws == draws[:, :1]).all(axis=1)).any():
        draws[same] = generator.integers(0, num_clips, (same.sum(), num_clips))
    resampled = np.array([measure(np.bincount(draw, minlength=num_clips).astype(np.float64)) for draw in draws])
    low, high = value + np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) - resampled.mean()
    return EmbedderEstimate(value, min(value, float(low)), max(value, float(high)), num_clips, embedder)
