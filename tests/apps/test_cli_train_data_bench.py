"""The commands that train, prepare data, measure and look around."""

import json

import numpy as np
import pytest
import soundfile

RECIPE = """
from dataclasses import dataclass, replace

@dataclass(frozen=True, kw_only=True)
class Run:
    steps: int = 3
    rate: float = 0.5

def config():
    return Run()

def long():
    return replace(config(), steps=300)

def train(run, out_dir, resume):
    out_dir.mkdir(parents=True, exist_ok=resume)
    (out_dir / "done").write_text(str(run.steps))
    return {"steps": run.steps, "rate": run.rate, "resumed": resume}
"""


@pytest.fixture
def recipe(folder):
    (folder / "json.py").write_text(RECIPE)  # the name of a module of Python: it must not take its place
    return "json.py"


def test_a_recipe_runs_with_its_settings_changed(run, recipe, folder):
    outcome = run("train", recipe, "--set", "steps=7", "--set", "rate=1.5", "--out", "r", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) == {"recipe": recipe, "out": "r", "steps": 7, "rate": 1.5, "resumed": False}
    assert (folder / "r" / "done").read_text() == "7"


def test_another_function_of_a_recipe_and_the_runs_own_folder(run, recipe):
    outcome = run("train", f"{recipe}:long", "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["steps"] == 300
    assert result["out"] == "runs/json"
    assert json.loads(run("train", f"{recipe}:long", "--resume", "--json").out)["resumed"]


@pytest.mark.parametrize(
    "words", [("--set", "stepz=7"), ("--set", "steps=many"), ("--set", "steps"), ("--resume", "--out", "nosuch")]
)
def test_a_wrong_setting_is_refused_before_the_run(refused, recipe, words):
    refused(2, "train", recipe, *words)


@pytest.mark.parametrize(
    "text", ["def config(:", "x = 1", "def config():\n    return 3", "def config():\n    return 3\ntrain = config"]
)
def test_a_file_that_is_no_recipe_says_so(run, folder, text):
    (folder / "r.py").write_text(text)
    outcome = run("train", "r.py")
    assert outcome.code == 2
    assert "r.py" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_recipe_without_that_function_names_those_it_has(refused, recipe):
    assert "config, long" in refused(2, "train", f"{recipe}:short")


@pytest.fixture
def music(folder):
    random = np.random.default_rng(0)
    (folder / "music").mkdir()
    for name, num_samples in (("a", 6_400), ("b", 9_600), ("c", 6_400)):
        soundfile.write(folder / "music" / f"{name}.wav", random.uniform(-0.1, 0.1, num_samples), 32_000)
        (folder / "music" / f"{name}.txt").write_text(f"a piece called {name}\n")
    (folder / "music" / "broken.wav").write_text("no sound")
    return folder / "music"


def test_from_a_folder_of_audio_to_shards(run, music):
    outcome = run("data", "scan", music, "--valid-share", "0", "--json")
    assert outcome.code == 0, outcome.err
    scanned = json.loads(outcome.out)
    assert scanned["num_clips"] == scanned["num_captioned"] == 3
    assert len(scanned["left_out"]) == 1
    assert "left out" in outcome.err
    outcome = run("data", "check", music / "manifest.jsonl", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["is_trainable"]
    for _ in range(2):  # the second time everything is there
        outcome = run("data", "tokenize", music / "manifest.jsonl", "-o", "shards", "--model", "tiny", "--json")
        assert outcome.code == 0, outcome.err
        assert json.loads(outcome.out)["num_clips"] == 3


def test_data_check_fails_where_a_run_would_stop(run, music):
    assert run("data", "scan", music, "--valid-share", "0").code == 0
    (music / "b.wav").unlink()
    outcome = run("data", "check", music / "manifest.jsonl")
    assert outcome.code == 3
    assert "missing" in outcome.out
    assert outcome.err.splitlines()[-1].startswith("descant: error: ")


@pytest.mark.parametrize("kind", ["decode", "codec", "train"])
def test_the_last_line_of_bench_is_one_json_object(run, kind, monkeypatch):
    monkeypatch.setattr("descant.studies.speed.COPY_BYTES", {"cpu": 1 << 20})
    monkeypatch.setattr("descant.studies.speed.PRODUCT_SIZE", {"cpu": 64})
    outcome = run("bench", kind, "--model", "tiny", "-d", "0.2", "--repeats", "1")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out.splitlines()[-1])
    assert result["what"] == kind
    assert result["model"] == "tiny"
    assert all(value > 0 for name, value in result.items() if name.endswith(("factor", "ceiling", "per_s", "bytes")))
    assert len(outcome.out.splitlines()) == len(result) + 1
    alone = run("bench", kind, "--model", "tiny", "-d", "0.2", "--repeats", "1", "--json")
    assert set(json.loads(alone.out)) == set(result)


def test_doctor_tells_what_there_is_and_what_is_missing(run, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    outcome = run("doctor", "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["generations"]["tiny"]["works"]
    assert result["devices"]["cpu"]
    assert result["programs"]["fluidsynth"] is False
    text = run("doctor").out
    assert "program fluidsynth: not there" in text
    assert "model tiny: one second in" in text


def test_shards_are_heard_by_a_clap_and_heard_once(run, refused, folder, tiny_folder, make_clap):
    pytest.importorskip("transformers", reason="transformers")
    make_clap(folder / "clap", dim=512, rate_hz=48_000, window_s=10)
    (folder / "music").mkdir()
    soundfile.write(folder / "music" / "a.wav", 0.1 * np.sin(np.arange(16_000)), 8_000)
    assert run("data", "scan", "music").code == 0
    assert run("data", "tokenize", "music/manifest.jsonl", "-o", "shards", "--codec", tiny_folder / "codec").code == 0
    words = ("data", "embeddings", "shards", "--codec", tiny_folder / "codec", "--clap", folder / "clap", "--json")
    outcome = run(*words)
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out) == {"folder": "shards", "num_clips": 1, "num_shards": 1}
    heard = (folder / "shards" / "clap-00000.safetensors").read_bytes()
    assert run(*words).code == 0
    assert (folder / "shards" / "clap-00000.safetensors").read_bytes() == heard
    make_clap(folder / "other")
    refused(3, *words[:-2], folder / "other")
