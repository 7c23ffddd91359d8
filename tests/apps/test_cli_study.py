"""``descant study``: lists studies, writes a page from results, and says what is missing before anything is trained."""

import json
import shutil

import pytest

from descant.apps.cli.recipes import RECIPES


def estimate(value):
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "count": 3}


def line(row, seed, nats):
    return {
        "study": "delays",
        "row": row,
        "seed": seed,
        "began": "2026-11-29T00:00:00+00:00",
        "command": "descant study delays",
        "commit": "abc1234",
        "embedder": "MusiCNN",
        "device": "cpu",
        "left_out": {},
        "parameters": 4_000_000,
        "updates": 500,
        "frames": 1_200_000,
        "frame_rate_hz": 50,
        "positions": 1_204_000,
        "positions_times_layers": 4_816_000,
        "training_processor_s": 300.0,
        "judging_processor_s": 60.0,
        "sampling_processor_s": 20.0,
        "nats_per_frame": estimate(nats),
        "nats_per_frame_of_each_crop": [nats - 1, nats, nats + 1],
        "nats_per_frame_by_genre": {},
        "frechet": estimate(9.0),
    }


@pytest.fixture
def results(tmp_path):
    lines = [line("interval_1", 0, 14.0), line("interval_1", 1, 16.0), line("interval_0", 0, 17.0)]
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return tmp_path


def test_a_page_is_written_from_the_results(run, results):
    outcome = run("study", "delays", "--out", str(results), "--report")
    assert outcome.code == 0, outcome.err
    page = (results / "delays.md").read_text()
    assert outcome.out.strip() == page.strip()
    assert "| `interval_1` | 15 [13.9, 16.1] |" in page
    assert "| `interval_0` | 2 [2, 2] |" in page
    assert "`interval_2`" not in page
    assert (results / "delays.svg").exists()


def test_the_result_is_one_json_object(run, results):
    outcome = run("study", "delays", "--out", str(results), "--report", "--json")
    assert outcome.code == 0, outcome.err
    (result,) = json.loads(outcome.out)["studies"].values()
    assert [one["row"] for one in result["lines"]] == ["interval_1", "interval_1", "interval_0"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "which study"),
        (("rhythm",), "NAME 'rhythm': no such study; there are cascade, chroma, "),
        (("delays", "--recipes", "pilots"), "NAME 'delays': no such study; there are clock, "),
        (("delays", "--recipes", "nowhere"), "give a folder with some, or ablations or pilots"),
        (("delays", "--report", "--out", "nothing"), "no row of it is in the results"),
        (("delays",), "--data: 'runs/study': no complete data of a study"),
        (("__init__.py",), "no such study"),
    ],
)
def test_what_is_missing_is_said_first(run, words, says):
    outcome = run("study", *words)
    assert outcome.code in (2, 3)
    assert says in outcome.err


def test_recipes_may_be_in_any_folder(run, tmp_path):
    shutil.copy(RECIPES / "ablations" / "ablation_base.py", tmp_path)
    shutil.copy(RECIPES / "ablations" / "delays.py", tmp_path)
    listed = {
        folder: json.loads(run("study", "--list", "--json", "--recipes", folder).out)["studies"]
        for folder in ("ablations", str(tmp_path))
    }
    assert list(listed[str(tmp_path)]) == ["delays"]
    assert listed[str(tmp_path)]["delays"] == listed["ablations"]["delays"]
