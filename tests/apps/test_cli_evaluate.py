"""``descant evaluate``: a folder in, a table, JSON and a page out; mistakes are one line."""

import json
from pathlib import Path

import pytest
import torch

from descant.apps.cli import evaluate
from descant.audio import Clip
from descant.errors import MissingExtra
from descant.evaluation.embedders.musicnn_weights import weights_folder
from descant.studies.evaluation.embedders import NAMES
from descant.studies.evaluation.metrics import BY_NAME, METRICS

RATE_HZ = 8_000


@pytest.fixture
def songs(folder, monkeypatch) -> str:
    """Four short clips of noise at other levels, and a cache of their own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    (folder / "songs").mkdir()
    for number in range(4):
        noise = torch.randn(1, 3 * RATE_HZ, generator=torch.Generator().manual_seed(number))
        Clip(noise * 0.02 * (number + 1), RATE_HZ, info={"text": f"song {number}"}).save(f"songs/{number}.wav")
    return "songs"


def test_the_options_name_all_metrics_and_embedders():
    assert tuple(evaluate.METRICS) == tuple(metric.name for metric in METRICS) == tuple(BY_NAME)
    assert evaluate.EMBEDDERS == NAMES


def test_a_folder_is_measured_as_a_table_and_as_one_json_object(run, songs):
    table = run("evaluate", songs, "--metrics", "checks")
    assert table.code == 0, table.err
    assert "| loudness, LUFS |" in table.out
    outcome = run("evaluate", songs, "--reference", songs, "--metrics", "checks", "--html", "page.html", "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["generated"]["num_clips"] == found["reference"]["num_clips"] == 4
    assert {row["measure"] for row in found["metrics"]} == {measure.key for measure in BY_NAME["checks"].measures}
    loudness = next(row for row in found["metrics"] if row["measure"] == "loudness_lufs")
    assert loudness["low"] < loudness["value"] < loudness["high"]
    assert {key: value for key, value in loudness["reference"].items() if key != "count"} == {
        key: loudness[key] for key in ("value", "low", "high")
    }
    assert [clip["text"] for clip in sorted(found["clips"], key=lambda clip: clip["name"])] == [
        f"song {number}" for number in range(4)
    ]
    assert found["settings"] == {"metrics": ["checks"], "loudness_lufs": -14.0, "duration_s": None, "seed": 0}
    assert Path("page.html").read_text().count("<audio") == 4
    assert any(Path("cache/descant/evaluation").rglob("*.json"))


def test_nothing_is_kept_with_the_cache_off(run, songs):
    assert run("evaluate", songs, "--metrics", "checks", "--cache", "off").code == 0
    assert not Path("cache").exists()


def test_mistakes_are_one_line_and_leave_nothing(refused, songs):
    assert "'fda': allowed are fad, kad" in refused(2, "evaluate", songs, "--metrics", "fda")
    Path("empty").mkdir()
    assert "'empty' has no audio files" in refused(3, "evaluate", songs, "--reference", "empty")
    assert "not a folder" in refused(3, "evaluate", "nowhere")
    assert "give one (--reference)" in refused(2, "evaluate", songs, "--metrics", "kad")
    assert "--duration 0: must be above 0" in refused(2, "evaluate", songs, "-d", "0")
    assert "end the file in .html" in refused(2, "evaluate", songs, "--html", "page.txt")
    assert "make it first" in refused(2, "evaluate", songs, "--html", "no/page.html")
    assert "--output: it belongs to --suite; leave it out" in refused(2, "evaluate", songs, "-o", "out")
    assert "--model: it belongs to --suite and --training" in refused(2, "evaluate", songs, "--model", "tiny")
    assert "leave it out" in refused(2, "evaluate", songs, "--suite", "musiccaps", "--reference", songs)
    assert "no other" in refused(3, "evaluate", songs, "--suite", "musiccaps")
    named = refused(2, "evaluate", songs, "--reference", songs, "--metrics", "kad", "--embedder", "vgg")
    assert "--embedder vgg: allowed are musicnn" in named
    labelled = refused(2, "evaluate", songs, "--reference", songs, "--metrics", "kl", "--labeller", "vgg")
    assert "--labeller vgg: allowed are musicnn" in labelled


def test_broken_files_are_left_out_only_if_that_is_asked_for(run, refused, songs):
    Path("songs/4.wav").write_text("no sound")
    assert "--skip-broken" in refused(3, "evaluate", songs, "--metrics", "checks")
    outcome = run("evaluate", songs, "--metrics", "checks", "--skip-broken")
    assert outcome.code == 0, outcome.err
    assert "note: generated: 1 file is left out, first 4: " in outcome.out


def test_musiccaps_is_generated_measured_and_not_generated_twice(run, songs):
    """With MusiCNN in place of the paper's embedders, whose weights need a download."""
    try:
        weights_folder("MTT_musicnn")
    except MissingExtra as error:
        pytest.skip(str(error))
    rows = [f"{number},a piano plays" for number in range(5)]
    Path(songs, "musiccaps-public.csv").write_text("\n".join(["ytid,caption", *rows]))
    words = ("evaluate", "--suite", "musiccaps", songs, "--model", "tiny", "--metrics", "kad,kl", "--clips", "3")
    words += ("--embedder", "musicnn", "--labeller", "musicnn", "-o", "out")
    outcome = run(*words, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert (found["num_kept"], found["num_missing"], found["model"]) == (0, 1, "tiny")
    assert {row["measure"]: row["count"] for row in found["metrics"]} == {"kad": 3, "kl": 3}
    assert found["published"][0] == {"model": "Riffusion", "fad": 14.8, "kl": 2.06, "clap": 0.19}
    table = run(*words)
    assert "| MusicGen 300M | 3.1 | 1.28 | 0.31 |" in table.out
    assert "the paper's labeller is passt, not musicnn" in table.out
    assert "1 caption has no clip" in table.err
    assert sorted(file.name for file in Path("out").glob("*")) == ["0.wav", "1.wav", "2.wav"]
