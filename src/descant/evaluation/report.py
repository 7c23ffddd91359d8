"""Estimates with 95 % confidence intervals, Markdown tables and JSON."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from descant.errors import InvalidRequest

CONFIDENCE = 0.95
_NUM_RESAMPLES = 10_000
_MAX_DRAWN = 1 << 20
"""Values that are drawn at once, in eight megabytes."""


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval, and the number of observations."""

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]"


def mean_with_interval(values: Sequence[float], seed: int = 0) -> Estimate:
    """The mean and its percentile bootstrap interval (10,000 resamples from a fixed seed, so the same every time).

    Raises:
        InvalidRequest: there are no values, or one is not finite.
    """
    observed = np.asarray(values, dtype=np.float64)
    if observed.size == 0 or not np.isfinite(observed).all():
        raise InvalidRequest(
            f"{observed.size} values, {np.isfinite(observed).sum()} of them finite: a mean needs all finite"
        )
    means = _resampled_means(observed, seed)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(float(observed.mean()), float(low), float(high), observed.size)


def rate_with_interval(hits: int, trials: int) -> Estimate:
    """The share of hits and Wilson's score interval, which stays in [0, 1] and is accurate for few trials.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Raises:
        InvalidRequest: there were no trials, or more hits than trials.
    """
    if not 0 <= hits <= trials or trials == 0:
        raise InvalidRequest(
            f"{hits} hits in {trials} trials: a rate needs at least one trial and at most as many hits"
        )
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = hits / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    # At 0 and all hits the limits are exactly 0 and 1; rounding must not move them past the value.
    return Estimate(share, min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)), trials)


def paired_difference(first: Sequence[float], second: Sequence[float], seed: int = 0) -> Estimate:
    """The mean of ``first[i] - second[i]`` and its interval: whether two systems differ on the same clips.

    Raises:
        InvalidRequest: the lengths differ, or are 0.
    """
    if len(first) != len(second):
        raise InvalidRequest(
            f"{len(first)} values against {len(second)}: a paired difference needs the same clips in both"
        )
    return mean_with_interval(np.subtract(first, second).tolist(), seed)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; floats have three digits, an ``Estimate`` has its interval."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def write_report_json(report: Mapping[str, Any], file: Path) -> None:
    """The report as JSON; an ``Estimate`` becomes an object with value, low, high and count."""
    file.write_text(json.dumps(report, indent=2, default=asdict) + "\n", encoding="utf-8")


def _resampled_means(observed: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    at_once = max(1, _MAX_DRAWN // observed.size)
    counts = [min(at_once, _NUM_RESAMPLES - first) for first in range(0, _NUM_RESAMPLES, at_once)]
    drawn = (generator.integers(0, observed.size, (count, observed.size)) for count in counts)
    return np.concatenate([observed[places].mean(axis=1) for places in drawn])


def _cell(cell: Any) -> str:
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)
