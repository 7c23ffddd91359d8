"""The tables and plots of speed are what the scripts of ``benchmarks/`` make of ``results.jsonl``."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONDITIONS = {"processor": "A", "device": "cpu", "model": "starter", "precision": "fp32", "num_threads": 2}
ORIGIN = {"torch": "2.13.0", "commit": "abc", "date": "2026-11-28T10:00:00+00:00"}


@pytest.fixture
def script(monkeypatch):
    """Imports a script as it is when it runs: its folder is on the path."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def decode_line(**changes):
    measured = {"audio_s": 10.0, "count": 1, "duration_s": 10.0, "share_of_ceiling": 0.25, "ms_per_step": 9.754}
    seconds = {"seconds": 5.284, "seconds_min": 5.1, "seconds_max": 104.6}
    return {"what": "decode", **measured, **seconds, **CONDITIONS, **ORIGIN, **changes}


@pytest.mark.parametrize("page", ["README.md", "docs/speed.md"])
def test_the_tables_are_those_of_the_results(script, page):
    table, results = script("table"), script("results")
    text = (ROOT / page).read_text(encoding="utf-8")
    assert table.PLACE.search(text)
    assert table.updated(text, results.read()) == text


def test_every_table_of_a_page_is_known(script):
    table = script("table")
    names = [place["name"] for page in table.PAGES for place in table.PLACE.finditer(page.read_text(encoding="utf-8"))]
    assert sorted(names) == sorted([*table.TABLES, "plots"])


def test_a_table_has_a_row_for_the_newest_measurement_under_each_condition(script):
    table = script("table")
    lines = [
        decode_line(seconds=1.0),
        decode_line(processor="B", seconds=3.0),
        decode_line(),
        decode_line(count=8, audio_s=80.0, transformers_seconds_ratio=1.5),
        {**decode_line(), "what": "decode, compared"},
        {name: value for name, value in decode_line(seconds=7.0).items() if name != "processor"},
    ]
    rows = [line.split(" | ")[:7] for line in table.table("decode", lines).splitlines()]
    assert rows[0] == ["| machine", "model", "music", "seconds", "ms a step", "of the bandwidth", "transformers"]
    assert rows[2:] == [
        ["| A, 2 threads", "starter, fp32", "10 s", "5.28 (5.1 to 105)", "9.75", "25 %", ""],
        ["| A, 2 threads", "starter, fp32", "8 x 10 s", "5.28 (5.1 to 105)", "9.75", "25 %", "1.5 times as long"],
        ["| B, 2 threads", "starter, fp32", "10 s", "3 (5.1 to 105)", "9.75", "25 %", ""],
    ]
    assert table.table("train", lines) == "Not measured yet.\n"


def test_the_summary_has_medians_and_short_names(script):
    processor = "Intel(R) Xeon(R) Processor, family 6, model 207, AVX512"
    one_run = decode_line(processor=processor, num_threads=1, seconds_min=5.284, seconds_max=5.284)
    lines = [decode_line(transformers_seconds_ratio=1.5), one_run]
    assert script("table").table("summary", lines).splitlines()[2:] == [
        "| A, 2 threads | starter, fp32 | 10 s | 5.28 | 1.89 | 1.5 times as long |",
        "| Intel Xeon, AVX512, 1 thread | starter, fp32 | 10 s | 5.28 | 1.89 |  |",
    ]
    assert script("table").spread("seconds")(one_run) == "5.28"


def test_a_rounded_model_is_shown_with_its_difference_to_fp32(script):
    found = {"value": 0.71, "low": 0.6, "high": 0.8, "count": 3}
    lost = {"value": -0.02, "low": -0.1, "high": 0.0512, "count": 3}
    names = {"recognised": found, "tempo": found, "recognised_difference": lost, "tempo_difference": lost}
    lines = [
        {**decode_line(), "what": "rounding, music", "precision": precision, "tag_wins": found, **names}
        for precision in ("fp32", "int8")
    ]
    exact, rounded = script("table").table("rounding-music", lines).splitlines()[2:]
    assert exact.startswith("| A, 2 threads | starter, fp32 | 0.71 [0.6, 0.8] |  |  | 0.71 [0.6, 0.8] |  | 2.13.0 |")
    assert rounded.startswith(
        "| A, 2 threads | starter, int8 | 0.71 [0.6, 0.8] | -0.02 [-0.1, 0.0512] | 0.71 [0.6, 0.8] | 0.71 [0.6, 0.8] | "
        "-0.02 [-0.1, 0.0512] | 2.13.0 |"
    )


def test_only_the_tables_of_a_page_change(script):
    table = script("table")
    page = "before\n<!-- speed: summary -->\nold\n<!-- end of speed -->\nafter\n"
    once = table.updated(page, [decode_line()])
    assert once.startswith("before\n<!-- speed: summary -->\n| machine |")
    assert once.endswith("|\n<!-- end of speed -->\nafter\n")
    assert table.updated(once, [decode_line()]) == once


def test_plots_of_the_same_results_are_the_same_small_files(script, tmp_path):
    pytest.importorskip("matplotlib")
    plots = script("plots")
    for curve, (_, value, _) in plots.AXES.items():
        points = [
            {plots.PLACES[curve]: place, value: 2 * place, f"{value}_min": place, f"{value}_max": 3 * place}
            for place in (1, 2, 4)
        ]
        line = {"what": f"decode by {curve}", "points": points, **CONDITIONS}
        for name in ("a.svg", "b.svg"):
            plots.draw(curve, [line], tmp_path / name)
        drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
        assert drawn == (tmp_path / "b.svg").read_text(encoding="utf-8")
        assert "starter, fp32, A" in drawn
        assert len(drawn) < 40_000


def test_a_page_shows_the_plots_of_the_curves_that_were_measured(script):
    table, plots = script("table"), script("plots")
    assert set(table.TITLES) == set(plots.AXES)
    page = "<!-- speed: plots -->\n<!-- end of speed -->"
    assert "Not measured yet." in table.updated(page, [decode_line()])
    lines = [{"what": "decode by count", "points": [], **CONDITIONS}]
    assert table.updated(page, lines).splitlines()[1:-1] == [f"![{table.TITLES['count']}](speed/count.svg)"]


def test_a_result_is_read_as_it_was_appended(script, tmp_path):
    results = script("results")
    file = tmp_path / "results.jsonl"
    for number in (1, 2):
        results.append(decode_line(seconds=number), file)
    assert [json.dumps(line) for line in results.read(file)] == file.read_text(encoding="utf-8").splitlines()
    assert [line["seconds"] for line in results.newest(results.read(file), "decode")] == [2]
