"""How the speed of generation changes with the length of the cache, the duration, and the number of requests."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

from descant.api import MusicGen
from descant.generation.request import Request
from descant.studies.speed.decoding import PROMPT, StepClock, decode_once, num_frames, warm_up
from descant.studies.speed.machine import machine_info
from descant.studies.speed.timing import Values, spreads

Curve: TypeAlias = Literal["steps", "duration", "count"]
CURVES: tuple[Curve, ...] = get_args(Curve)
MAX_POINTS = {"steps": 30, "duration": 5}


def decode_curve(model: MusicGen, curve: Curve, duration_s: float, repeats: int = 3, count: int = 8) -> dict[str, Any]:
    """The points of a curve, each with the spread of what was measured there; the points are measured in turns.

    Args:
        curve: milliseconds of a step over the ``steps`` in the cache; seconds over ``duration``, up to ``duration_s``;
            or seconds and throughput over the ``count`` of requests at once, 1, 2, 4 ... up to ``count``.
    """
    counts = sorted({count, *(2**power for power in range(count.bit_length()))}) if curve == "count" else [1]
    warm_up(model, duration_s, *counts)
    if curve == "steps":
        points = _by_steps(model, duration_s, repeats)
    elif curve == "duration":
        points = _by_duration(model, duration_s, repeats)
    else:
        points = _by_count(model, duration_s, repeats, counts)
    return {"what": f"decode by {curve}", "duration_s": duration_s, "points": points, **machine_info(model)}


def _by_steps(model: MusicGen, duration_s: float, repeats: int) -> list[dict[str, Any]]:
    num_steps = int(model.config.pattern.steps(num_frames(model, duration_s)).max())
    every = max(1, num_steps // MAX_POINTS["steps"])
    runs = [_segments(model, duration_s, every, seed) for seed in range(repeats)]
    return [{"steps": steps, **spreads([{"ms_per_step": run[steps]} for run in runs])} for steps in runs[0]]


def _segments(model: MusicGen, duration_s: float, every: int, seed: int) -> dict[float, float]:
    """Milliseconds of a step by the length of the cache in the middle of each segment of ``every`` steps.

    The last segment is left out: it may be shorter, and its last step draws codes and reads nothing.
    """
    clock = StepClock(model.model.device, every)
    model.generate(Request(text=PROMPT, duration_s=duration_s, seed=seed), progress=clock)
    return {
        (first + last) / 2: 1_000 * (ended - began) / (last - first)
        for (first, began), (last, ended) in zip(clock.times, clock.times[1:-1], strict=False)
    }


def _by_duration(model: MusicGen, duration_s: float, repeats: int) -> list[dict[str, Any]]:
    num_points = MAX_POINTS["duration"]
    durations = [duration_s * number / num_points for number in range(1, num_points + 1)]
    turns = [[decode_once(model, duration) for duration in durations] for _ in range(repeats)]
    return [{"duration_s": duration, **_at(turns, place)} for place, duration in enumerate(durations)]


def _by_count(model: MusicGen, duration_s: float, repeats: int, counts: list[int]) -> list[dict[str, Any]]:
    turns = [_counts_once(model, duration_s, counts) for _ in range(repeats)]
    return [{"count": count, **_at(turns, place)} for place, count in enumerate(counts)]


def _counts_once(model: MusicGen, duration_s: float, counts: list[int]) -> list[Values]:
    """What is measured with each count of requests, and its throughput, that of one request being 1."""
    runs = [decode_once(model, duration_s, count) for count in counts]
    return [
        {**values, "throughput_ratio": count * runs[0]["seconds"] / values["seconds"]}
        for count, values in zip(counts, runs, strict=True)
    ]


def _at(turns: Sequence[Sequence[Values]], place: int) -> dict[str, float]:
    """The spread over all turns of what was measured at one place of each."""
    return spreads([turn[place] for turn in turns])
