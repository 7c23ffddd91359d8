import json
import math
import tracemalloc

import pytest

from descant.errors import InvalidRequest
from descant.evaluation import report
from descant.evaluation.report import (
    Estimate,
    markdown_table,
    mean_with_interval,
    paired_difference,
    rate_with_interval,
    write_report_json,
)


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    # z^2 = 3.8415: at no hits the upper end is z^2 / (n + z^2); the middle one is Newcombe's worked example (1998).
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilsons_interval_has_its_known_values(hits, trials, low, high):
    rate = rate_with_interval(hits, trials)
    assert rate.value == hits / trials
    assert (rate.low, rate.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_the_interval_of_a_mean_is_near_the_normal_one_and_the_same_every_time():
    values = [math.sin(index) for index in range(500)]
    estimate = mean_with_interval(values)
    mean = sum(values) / 500
    half = 1.96 * math.sqrt(sum((value - mean) ** 2 for value in values) / 499 / 500)
    assert (estimate.low, estimate.high) == (pytest.approx(mean - half, abs=0.01), pytest.approx(mean + half, abs=0.01))
    assert estimate == mean_with_interval(values)


def test_the_interval_of_many_values_needs_little_memory(monkeypatch):
    """All resamples were once drawn at once: 16 bytes for each value of each, a gigabyte for the clips of MusicCaps."""
    values = [math.sin(index) for index in range(3_000)]
    tracemalloc.start()
    estimate = mean_with_interval(values)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 50e6
    monkeypatch.setattr(report, "_MAX_DRAWN", 1 << 30)
    assert estimate == mean_with_interval(values)


def test_a_constant_shift_is_a_certain_difference_however_much_clips_vary():
    base = [float(index) for index in range(20)]
    difference = paired_difference([value + 0.5 for value in base], base)
    assert (difference.value, difference.low, difference.high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize("ask", [lambda: mean_with_interval([]), lambda: mean_with_interval([math.inf])])
def test_a_mean_of_nothing_or_of_infinity_is_refused(ask):
    with pytest.raises(InvalidRequest, match="finite"):
        ask()


def test_impossible_rates_and_unpaired_clips_are_refused():
    with pytest.raises(InvalidRequest, match="0 trials"):
        rate_with_interval(0, 0)
    with pytest.raises(InvalidRequest, match="same clips"):
        paired_difference([1.0], [])


def test_a_table_shows_intervals():
    table = markdown_table(["measure", "value"], [["tempo", Estimate(0.5, 0.25, 0.75, 8)], ["loss", 1.23456]])
    assert table.splitlines() == [
        "| measure | value |", "| --- | --- |", "| tempo | 0.5 [0.25, 0.75] |", "| loss | 1.23 |",
    ]  # fmt: skip


def test_a_report_written_as_json_keeps_its_intervals(tmp_path):
    write_report_json({"tempo": Estimate(0.5, 0.25, 0.75, 8)}, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "tempo": {"value": 0.5, "low": 0.25, "high": 0.75, "count": 8}
    }
