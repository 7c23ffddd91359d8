"""The results of a listening test: means of each system, differences between systems, and their intervals.

Each mean has three 95 % intervals: over the choice of listeners, over that of prompts, and over both. The last is the
one to use: listeners and prompts are resampled independently (Owen, "The pigeonhole bootstrap", Annals of Applied
Statistics 1, 2007), the same ones for all systems, so that differences are paired.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Float

from descant.errors import InvalidRequest
from descant.evaluation.report import CONFIDENCE, Estimate, markdown_table
from descant.studies.listening.files import SCALES, Answers, Key
from descant.studies.listening.screening import screen

NUM_RESAMPLES = 2_000
LABELS = {"overall": "overall quality (OVL)", "relevance": "relevance (REL)", "melody": "melody adherence (MEL)"}


@dataclass(frozen=True, kw_only=True)
class Score:
    """The mean rating of a system on one scale; ``mean`` has the interval over listeners and prompts."""

    system: str
    scale: str
    mean: Estimate
    by_listener: Estimate
    by_prompt: Estimate


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The mean rating of ``first`` less that of ``second``."""

    first: str
    second: str
    scale: str
    estimate: Estimate

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.estimate.low > 0 or self.estimate.high < 0


@dataclass(frozen=True, kw_only=True)
class Results:
    """Scores with the best system first, all pairs of systems, and the listeners left out with their reasons."""

    test: str
    num_listeners: int
    left_out: Mapping[str, str]
    scores: Sequence[Score]
    differences: Sequence[Difference]
    notes: Sequence[str]


def analyse(key: Key, answers: Sequence[Answers], *, keep_all: bool = False, seed: int = 0) -> Results:
    """The results of these answers, from clips that are neither repeats nor anchors.

    Args:
        keep_all: uses all listeners, also those whom ``screen`` leaves out.

    Raises:
        InvalidRequest: nobody is left, or a system has no ratings.
    """
    left_out = {} if keep_all else screen(key, answers)
    kept = [one for one in answers if one.listener not in left_out]
    if not kept:
        reasons = "; ".join(f"{listener!r:.60}: {reason}" for listener, reason in left_out.items())
        raise InvalidRequest(f"none of {len(answers)} listeners is left ({reasons}); keep_all=True uses their ratings")
    scores: list[Score] = []
    differences: list[Difference] = []
    for scale in SCALES:
        ratings = _ratings(key, kept, scale)
        if ratings.size == 0:
            continue
        unrated = [name for name, part in zip(key.systems, ratings, strict=True) if np.isnan(part).all()]
        if unrated:
            raise InvalidRequest(f"no listener has rated {scale} of {unrated[0]!r}; collect more answers")
        scores += _scores(key.systems, scale, ratings, seed)
        differences += _differences(key.systems, scale, ratings, seed)
    overall = {score.system: score.mean.value for score in scores if score.scale == "overall"}
    return Results(
        test=key.test,
        num_listeners=len(kept),
        left_out=left_out,
        scores=sorted(scores, key=lambda score: (SCALES.index(score.scale), -overall[score.system])),
        differences=differences,
        notes=_notes(key, kept),
    )


def markdown(results: Results) -> str:
    """The results as two tables, the listeners who were left out, and what limits the intervals."""
    scores = [
        [LABELS[score.scale], score.system, score.mean, _interval(score.by_listener), _interval(score.by_prompt)]
        for score in results.scores
    ]
    pairs = [
        [LABELS[pair.scale], f"{pair.first} - {pair.second}", pair.estimate, "yes" if pair.is_clear else "no"]
        for pair in results.differences
    ]
    lines = [
        f"{results.num_listeners} listeners; means of ratings from 1 to 100 with 95 % intervals.\n",
        markdown_table(["scale", "system", "mean", "over listeners only", "over prompts only"], scores),
        markdown_table(["scale", "difference", "mean", "interval excludes 0"], pairs),
        *(f"Left out: {listener}: {reason}." for listener, reason in results.left_out.items()),
        *(f"Note: {note}." for note in results.notes),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _ratings(key: Key, answers: Sequence[Answers], scale: str) -> Float[np.ndarray, "systems listeners prompts"]:
    """The ratings on one scale, NaN where there are none; prompts that nobody rated on it are left out."""
    prompts = {name: index for index, name in enumerate(dict.fromkeys(clip.prompt for clip in key.clips))}
    clips = {clip.name: clip for clip in key.clips if clip.role == "rated"}
    ratings = np.full((len(key.systems), len(answers), len(prompts)), np.nan)
    for row, one in enumerate(answers):
        for answer in one.answers:
            clip, rating = clips.get(answer.clip), getattr(answer, scale)
            if clip is not None and rating is not None:
                ratings[key.systems.index(clip.system), row, prompts[clip.prompt]] = rating
    return ratings[:, :, ~np.isnan(ratings).all(axis=(0, 1))]


def _scores(systems: Sequence[str], scale: str, ratings: np.ndarray, seed: int) -> list[Score]:
    by_unit = [_estimates(ratings, *units, seed=seed) for units in ((True, True), (True, False), (False, True))]
    return [
        Score(system=system, scale=scale, mean=mean, by_listener=by_listener, by_prompt=by_prompt)
        for system, mean, by_listener, by_prompt in zip(systems, *by_unit, strict=True)
    ]


def _differences(systems: Sequence[str], scale: str, ratings: np.ndarray, seed: int) -> list[Difference]:
    means = np.nanmean(ratings, axis=(1, 2)).tolist()
    resampled = _resampled_means(ratings, of_listeners=True, of_prompts=True, seed=seed)
    counts = (~np.isnan(ratings)).sum(axis=(1, 2)).tolist()
    return [
        Difference(
            first=systems[first],
            second=systems[second],
            scale=scale,
            estimate=_estimate(
                means[first] - means[second],
                resampled[:, first] - resampled[:, second],
                min(counts[first], counts[second]),
            ),
        )
        for first, second in combinations(range(len(systems)), 2)
    ]


def _estimates(ratings: np.ndarray, of_listeners: bool, of_prompts: bool, seed: int) -> list[Estimate]:
    resampled = _resampled_means(ratings, of_listeners=of_listeners, of_prompts=of_prompts, seed=seed)
    counts = (~np.isnan(ratings)).sum(axis=(1, 2)).tolist()
    means = np.nanmean(ratings, axis=(1, 2)).tolist()
    return [_estimate(mean, column, count) for mean, column, count in zip(means, resampled.T, counts, strict=True)]


def _resampled_means(
    ratings: Float[np.ndarray, "systems listeners prompts"], *, of_listeners: bool, of_prompts: bool, seed: int
) -> Float[np.ndarray, "resamples systems"]:
    """The means of resampled ratings; NaN where a resample holds none of a system's ratings."""
    rng = np.random.default_rng(seed)
    _, num_listeners, num_prompts = ratings.shape
    listeners = _weights(rng, num_listeners, of_listeners)
    prompts = _weights(rng, num_prompts, of_prompts)
    is_rated = ~np.isnan(ratings)
    sums, counts = (
        np.stack([((listeners @ part) * prompts).sum(axis=1) for part in parts], axis=1)
        for parts in (np.where(is_rated, ratings, 0.0), is_rated.astype(np.float64))
    )
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _weights(rng: np.random.Generator, count: int, is_resampled: bool) -> Float[np.ndarray, "resamples units"]:
    if not is_resampled:
        return np.ones((NUM_RESAMPLES, count))
    return rng.multinomial(count, np.full(count, 1 / count), size=NUM_RESAMPLES).astype(np.float64)


def _estimate(value: float, resampled: np.ndarray, count: int) -> Estimate:
    low, high = np.nanquantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Estimate(value, float(low), float(high), count)


def _notes(key: Key, kept: Sequence[Answers]) -> list[str]:
    notes = []
    if len(kept) == 1:
        notes.append("with one listener the intervals do not show how much listeners differ")
    if len({clip.prompt for clip in key.clips}) == 1:
        notes.append("with one prompt the intervals do not show how much prompts differ")
    unfinished = sum(len(one.answers) < len(key.clips) for one in kept)
    if unfinished:
        notes.append(f"{unfinished} of {len(kept)} listeners did not finish; what they rated is used")
    return notes


def _interval(estimate: Estimate) -> str:
    return f"[{estimate.low:.3g}, {estimate.high:.3g}]"
