"""The commands that train, prepare data and look around."""

import json
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from descant.apps.cli import doctor
from descant.evaluation.embedders import musicnn_weights
from descant.transcription import network

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


def test_a_recipe_that_is_slow_to_load_is_announced_before_it_is_there(run, recipe, folder, monkeypatch):
    monkeypatch.setattr("descant.apps.cli.train.SLOW_S", 0.05)
    slow = "import sys, time; time.sleep(2); print('is there', file=sys.stderr)\n"
    (folder / recipe).write_text(slow + (folder / recipe).read_text())
    outcome = run("train", recipe, "--out", "r")
    assert outcome.code == 0, outcome.err
    assert outcome.err.splitlines() == ["loading what json needs", "is there", "training json in r"]


def test_another_function_of_a_recipe_and_the_runs_own_folder(run, recipe):
    outcome = run("train", f"{recipe}:long", "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["steps"] == 300
    assert result["out"] == "runs/json-long"
    assert json.loads(run("train", f"{recipe}:long", "--resume", "--json").out)["resumed"]


def test_show_prints_every_field_as_set_takes_it_and_trains_nothing(run, recipe, folder):
    outcome = run("train", recipe, "--show", "--set", "steps=7")
    assert outcome.code == 0, outcome.err
    assert outcome.out == "steps=7\nrate=0.5\n"
    words = [word for line in outcome.out.splitlines() for word in ("--set", line)]
    assert json.loads(run("train", recipe, "--show", "--json", *words).out) == {"steps": 7, "rate": 0.5}
    assert sorted(path.name for path in folder.iterdir()) == ["json.py"]


@pytest.mark.parametrize("name", ["encodec", "musicgen", "musicgen:melody", "starter_lm", "starter_melody"])
def test_a_recipe_of_the_package_is_found_by_its_name_anywhere(run, name):
    outcome = run("train", name, "--show", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["trainer"]["max_steps"] > 1_000


def test_an_unknown_recipe_names_those_of_the_package(refused):
    assert "encodec, finetune, musicgen, starter_chords" in refused(2, "train", "musicgan")


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


def test_doctor_lists_what_is_installed_and_what_is_missing(run, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    outcome = run("doctor", "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["generations"]["tiny"]["works"]
    assert result["devices"]["cpu"]
    assert result["programs"]["fluidsynth"] is False
    text = run("doctor").out
    assert "program fluidsynth: missing" in text
    assert "model tiny: one second in" in text


def test_doctor_knows_every_extra_and_the_packages_whose_weights_are_read(monkeypatch):
    """``serve`` was missing, and nothing said whether the weights of Basic Pitch and of MusiCNN are there."""
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras) == set(doctor.EXTRAS)
    assert all(len(extras[name]) == len(doctor.EXTRAS[name]) for name in extras if name != "dev")
    monkeypatch.setattr(network, "_weights_file", lambda: None)
    monkeypatch.setattr(musicnn_weights, "distribution", raise_not_found)
    assert doctor._weights() == {"musicnn": musicnn_weights.INSTALL, "basic-pitch": network.INSTALL}
    assert set(doctor.NEED_WEIGHTS) == set(doctor._weights())


def raise_not_found(name: str) -> None:
    raise PackageNotFoundError(name)


def test_doctor_times_a_second_clip_since_the_first_one_compiles(monkeypatch):
    """Its first figure was 8.64 s on a new machine, where later clips take a tenth of a second."""
    calls = []

    class Model:
        device, precision, engine = "cpu", "fp32", SimpleNamespace(runtime=SimpleNamespace(description="compiled"))

        def generate(self, _text: str, **_settings: object) -> SimpleNamespace:
            calls.append("clip")
            time.sleep(0.3 if len(calls) == 1 else 0)
            return SimpleNamespace(duration_s=1.0)

    monkeypatch.setattr("descant.load", lambda _name: Model())
    made = doctor._one_second("tiny")
    assert made["seconds_taken"] < 0.3 <= made["seconds_of_the_first"]
    assert "the first with preparation in" in doctor._generation_line(made)


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
    before = (folder / "shards" / "clap-00000.safetensors").read_bytes()
    assert run(*words).code == 0
    assert (folder / "shards" / "clap-00000.safetensors").read_bytes() == before
    make_clap(folder / "other")
    refused(3, *words[:-2], folder / "other")


def test_a_run_is_refused_where_something_is_and_resumed_only_where_something_is(run, refused, recipe, folder):
    (folder / "r").mkdir()
    refused(2, "train", recipe, "--out", "r", "--resume")
    (folder / "r" / "notes").write_text("mine")
    assert "holds notes, and nothing is overwritten" in refused(2, "train", recipe, "--out", "r")
    (folder / "r" / "log.jsonl").write_text("")
    assert "resume it (--resume)" in refused(2, "train", recipe, "--out", "r")
    assert run("train", recipe, "--out", "r", "--resume").code == 0


@pytest.mark.parametrize("out", ["/proc/nosuch", "/proc", "/dev/null", "json.py", "json.py/r", "nul\0"])
def test_a_folder_that_takes_nothing_is_refused_before_anything_is_loaded(refused, folder, out):
    (folder / "json.py").write_text("raise SystemError('loaded')")
    assert "--out" in refused(2, "train", "json.py", "--out", out)


def test_several_processes_are_refused_before_anything_is_loaded(refused, folder, monkeypatch):
    (folder / "r.py").write_text("raise SystemError('loaded')")
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert "WORLD_SIZE=8" in refused(2, "train", "r.py")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("import nosuch_module", "line 1: ModuleNotFoundError"),
        ("x = 1\nraise RuntimeError('two\\nlines')", "line 2: RuntimeError: two lines"),
        ("raise SystemExit(0)", "line 1: SystemExit"),
        ("def config():\n    return 1 / 0\ndef train(run, out, resume): pass", "line 2: ZeroDivisionError"),
        ("x = '\0'", "line 1"),
    ],
)
def test_an_error_of_a_recipe_is_the_recipes(refused, folder, text, says):
    (folder / "r.py").write_text(text)
    line = refused(2, "train", "r.py")
    assert "r.py" in line
    assert says in line


def test_an_error_while_a_recipe_trains_is_the_recipes_if_it_arose_there(run, folder):
    (folder / "r.py").write_text(RECIPE.replace("    out_dir.mkdir", "    [][1]\n    out_dir.mkdir"))
    outcome = run("train", "r.py", "--out", "r")
    assert outcome.code == 2
    assert "r.py', line 16: IndexError: list index out of range" in outcome.err.splitlines()[-1]


def test_a_device_that_is_not_there_is_refused_before_the_recipe_trains(refused, folder):
    text = RECIPE.replace("    rate: float = 0.5", "    trainer: TrainerConfig = TrainerConfig(max_steps=1)")
    (folder / "r.py").write_text("from descant.training.trainer_config import TrainerConfig\n" + text)
    assert "this machine has cpu" in refused(2, "train", "r.py", "--set", "trainer.device=cuda:77")


def test_a_scan_counts_what_it_found_and_one_bad_description_stops_nothing(run, music):
    (music / "a.json").write_text('{"bpm": 120,}')
    (music / "b.json").write_text('{"genre": "folk"}')
    (music / "._a.wav").write_bytes(b"\0\5\x16\7")
    outcome = run("data", "scan", music, "--json")
    assert outcome.code == 0, outcome.err
    result = json.loads(outcome.out)
    assert result["described_by"] == {"name.txt": 3, "name.json": 1}
    assert result["skipped"] == {"macOS resource file (._name)": 1}
    assert result["num_valid"] >= 1
    assert "a.json" in outcome.err
    assert "skipped: 1 x macOS" in run("data", "scan", music).out


def test_tokenize_leaves_out_and_names_broken_clips_and_fails_at_them_where_asked(run, music):
    assert run("data", "scan", music, "--valid-share", "0").code == 0
    (music / "b.wav").write_bytes(b"no sound any more")
    words = ("data", "tokenize", music / "manifest.jsonl", "-o", "shards", "--model", "tiny", "--json")
    outcome = run(*words, "--strict")
    assert outcome.code == 3
    assert "b.wav" in outcome.err.splitlines()[-1]
    outcome = run(*words)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("b.wav") == 1
    result = json.loads(outcome.out)
    assert result["num_clips"] == 2
    assert [path.endswith("b.wav") for path in result["left_out"]] == [True]


def test_the_result_of_a_part_says_that_it_is_one_and_what_is_left_to_do(run, music, folder):
    assert run("data", "scan", music, "--valid-share", "0").code == 0
    words = ("data", "tokenize", music / "manifest.jsonl", "-o", "shards", "--model", "tiny")
    outcome = run(*words, "--shard", "1/1")
    assert outcome.code == 0, outcome.err
    assert outcome.out == (
        "3 clips in part 1 of 1, 3 of them encoded now, 0 left out; "
        "tokenize without --shard once all 1 parts are there\n"
    )
    result = json.loads(run(*words, "--shard", "1/1", "--json").out)
    assert [result[name] for name in ("part", "num_parts", "num_clips", "num_encoded")] == [1, 1, 3, 0]
    assert json.loads(run(*words, "--json").out)["kept_parts"] == []
    assert not (folder / "shards" / "part-1-of-1").exists()


def test_an_edited_caption_and_a_new_song_reach_the_shards_without_tokenizing_again(run, music, folder):
    def tokenized():
        assert run("data", "scan", music).code == 0
        outcome = run("data", "tokenize", music / "manifest.jsonl", "-o", "shards", "--model", "tiny", "--json")
        assert outcome.code == 0, outcome.err
        names = ("num_clips", "num_encoded", "num_added", "num_removed", "num_described")
        return [json.loads(outcome.out)[name] for name in names]

    assert tokenized() == [3, 3, 3, 0, 0]
    (music / "a.txt").write_text("a piece with better words")
    assert tokenized() == [3, 0, 0, 0, 1]
    (music / "0").mkdir()
    soundfile.write(music / "0" / "d.wav", np.zeros(6_400), 32_000)
    assert tokenized() == [4, 1, 1, 0, 0]
    rows = [json.loads(line) for line in (folder / "shards" / "clips.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["0/d.wav", "a.wav", "b.wav", "c.wav"]
    assert [row["captions"] for row in rows][:2] == [[], ["a piece with better words"]]


def test_a_scan_keeps_the_splits_of_the_manifest_that_it_replaces(run, refused, music):
    def splits():
        lines = (music / "manifest.jsonl").read_text().splitlines()
        return {line["path"]: line["split"] for line in map(json.loads, lines)}

    assert run("data", "scan", music).code == 0
    drawn = splits()
    assert sorted(drawn.values()) == ["train", "train", "valid"]
    moved = {"train": "valid", "valid": "train"}
    text = (music / "manifest.jsonl").read_text()
    turned = text.replace('"train"', '"?"').replace('"valid"', '"train"').replace('"?"', '"valid"')
    (music / "manifest.jsonl").write_text(turned)
    assert run("data", "scan", music).code == 0
    assert splits() == {name: moved[split] for name, split in drawn.items()}
    assert run("data", "scan", music, "--split-again").code == 0
    assert splits() == drawn
    (music / "manifest.jsonl").write_text("{")
    assert "--split-again" in refused(3, "data", "scan", music)


def test_a_scan_prints_splits_captions_and_every_file_that_it_leaves_out(run, music):
    for number in range(25):
        (music / f"bad {number}.mp3").write_text("no sound")
    outcome = run("data", "scan", music)
    assert outcome.code == 0, outcome.err
    for number in range(25):
        assert outcome.err.count(f"bad {number}.mp3") == 1
    lines = outcome.out.splitlines()
    assert "3 clips, 0.00 h, 26 files left out" in lines[0]
    assert lines[1].startswith("training: 2 clips of 2 works, ")
    assert lines[2].startswith("validation: 1 clip of 1 work, ")
    assert lines[3] == "3 clips with captions, 0 with tags"


def test_a_codec_that_is_not_there_is_named_by_its_option(run, refused, music):
    assert run("data", "scan", music).code == 0
    line = refused(3, "data", "tokenize", music / "manifest.jsonl", "-o", "shards", "--codec", "nosuch")
    assert "--codec 'nosuch'" in line
