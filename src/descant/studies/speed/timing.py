"""Seconds of repeated work: medians with their spread, and ratios of what is measured in turns."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import torch

Values: TypeAlias = Mapping[str, float]
Measurement: TypeAlias = Callable[[], Values]
"""Does its work once and gives what it measured, by name."""


def timed(work: Callable[[], object], device: torch.device) -> float:
    """The seconds that some work takes, to its end on the device."""
    wait_for(device)
    began = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - began


def wait_for(device: torch.device) -> None:
    """Waits until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """The median of some values under this name, with the smallest and the largest."""
    return {name: statistics.median(values), f"{name}_min": min(values), f"{name}_max": max(values)}


def spreads(runs: Sequence[Values]) -> dict[str, float]:
    """The spread of each value over some runs of one measurement."""
    return {key: value for name in runs[0] for key, value in spread(name, [run[name] for run in runs]).items()}


def measure(measurement: Measurement, others: Mapping[str, Measurement], repeats: int) -> dict[str, float]:
    """The values of a measurement; then those of the others under their names, and how many times as large they are.

    All are taken in turns, and a ratio is one of two values of the same turn. ``seconds`` and an other named ``busy``
    give ``seconds``, ``busy_seconds`` and ``busy_seconds_ratio``, each with its spread.
    """
    turns = [(measurement(), {name: other() for name, other in others.items()}) for _ in range(repeats)]
    result = spreads([own for own, _ in turns])
    for other in others:
        result |= spreads([{f"{other}_{name}": value for name, value in of[other].items()} for _, of in turns])
        for name in turns[0][0]:
            ratios = [of[other][name] / own[name] for own, of in turns if name in of[other]]
            result |= spread(f"{other}_{name}_ratio", ratios) if ratios else {}
    return result
