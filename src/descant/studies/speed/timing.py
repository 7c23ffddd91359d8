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
    result = spreads([values for values, _ in turns])
    for other in others:
        result |= spreads([_prefixed(other, by_name[other]) for _, by_name in turns])
        result |= spreads([_prefixed(other, _ratios(by_name[other], values)) for values, by_name in turns])
    return result


def _prefixed(other: str, values: Values) -> dict[str, float]:
    return {f"{other}_{name}": value for name, value in values.items()}


def _ratios(values: Values, base: Values) -> dict[str, float]:
    """How many times as large the values are that both have."""
    return {f"{name}_ratio": value / base[name] for name, value in values.items() if name in base}
