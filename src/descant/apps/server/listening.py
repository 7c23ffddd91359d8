"""Listening tests: which clips a participant compares, in which order, and what the answers say."""

import hashlib
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np

Kind = Literal["pairs", "rating"]
NUM_RESAMPLES = 1_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Trial:
    """What is judged at once: two clips to compare, or one to rate. The letters are given in this order."""

    number: int
    clip_ids: tuple[str, ...]

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters under which the participant knows the clips."""
        return ("a", "b")[: len(self.clip_ids)]


def trials(kind: Kind, clip_ids: Sequence[str], test_id: str, participant: str) -> list[Trial]:
    """The trials of a participant, in an order of their own that is the same every time.

    The number of a trial is its place in the plan that all participants share, not in this order.
    """
    seed = hashlib.sha256(f"{test_id}\n{participant}".encode()).digest()
    draw = random.Random(seed)
    groups = list(combinations(clip_ids, 2)) if kind == "pairs" else [(clip_id,) for clip_id in clip_ids]
    planned = [Trial(number, tuple(draw.sample(group, len(group)))) for number, group in enumerate(groups)]
    draw.shuffle(planned)
    return planned


def is_answer(kind: Kind, answer: Any) -> bool:
    """Whether an answer is one that this kind of test has."""
    return answer in ("a", "b", "same") if kind == "pairs" else type(answer) is int and 1 <= answer <= 5


def results(
    kind: Kind, clip_ids: Sequence[str], test_id: str, answers: Iterable[tuple[str, int, Any]]
) -> dict[str, Any]:
    """The score of every clip with its interval over participants, the best one first.

    Args:
        answers: participant, number of the trial, answer.
    """
    scores: dict[str, dict[str, list[float]]] = {clip_id: {} for clip_id in clip_ids}
    participants, count = set(), 0
    for participant, number, answer in answers:
        participants.add(participant)
        count += 1
        trial = next(one for one in trials(kind, clip_ids, test_id, participant) if one.number == number)
        for letter, clip_id in zip(trial.letters, trial.clip_ids, strict=True):
            value = float(answer) if kind == "rating" else 0.5 if answer == "same" else float(answer == letter)
            scores[clip_id].setdefault(participant, []).append(value)
    clips = [{"clip_id": clip_id, **_estimate(list(by_one.values()))} for clip_id, by_one in scores.items()]
    clips.sort(key=lambda clip: -1.0 if clip["score"] is None else clip["score"], reverse=True)
    return {"participants": len(participants), "answers": count, "clips": clips}


def _estimate(by_participant: list[list[float]]) -> dict[str, Any]:
    """The mean of all answers, and the interval in which it varies with the choice of participants (bootstrap)."""
    count = sum(map(len, by_participant))
    if not count:
        return {"score": None, "low": None, "high": None, "count": 0}
    sums, counts = np.array([sum(one) for one in by_participant]), np.array([len(one) for one in by_participant])
    draws = np.random.default_rng(0).integers(0, len(sums), (NUM_RESAMPLES, len(sums)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return {"score": float(sums.sum() / count), "low": float(low), "high": float(high), "count": count}
