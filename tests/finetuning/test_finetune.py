"""From a folder of music to an adapter that generates, with its card and page; interrupted or not."""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

import descant
from descant.adapters import LoraConfig
from descant.apps.cli.main import main
from descant.checkpoints.adapters import AdapterInfo, load_adapter
from descant.data.families import write_families
from descant.data.manifest import read_manifest
from descant.data.scan import scan_folder
from descant.errors import AudioError, ConfigError, DataError, InvalidRequest
from descant.finetuning.config import FineTuneRun, ListeningConfig, full_run, trigger_from
from descant.finetuning.listening import Listening
from descant.finetuning.music import prepare_music
from descant.finetuning.run import finetune
from descant.finetuning.state import RunState, read_state
from descant.finetuning.tasks import make_training, planned

RATE_HZ = 8_000


@dataclass(frozen=True)
class Finished:
    songs: Path
    run: FineTuneRun
    out_dir: Path
    result: dict[str, Any]


def song(file: Path, pitch_hz: float, duration_s: float = 6.0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    seconds = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    soundfile.write(file, 0.3 * np.sin(2 * np.pi * pitch_hz * seconds), RATE_HZ)
    return file


def write_songs(folder: Path) -> Path:
    for number, name in enumerate(("dawn", "noon", "dusk")):
        song(folder / f"{name}.wav", 220 * (number + 1))
    (folder / "dawn.txt").write_text("slow warm strings, " + "longer than any text encoder reads, " * 100)
    (folder / "noon.json").write_text(json.dumps({"caption": "piano", "license": "CC-BY-4.0"}))
    return folder


def write_damaged_song(file: Path) -> None:
    """A file whose header is in order, so that only decoding shows the damage."""
    soundfile.write(file, np.random.default_rng(0).uniform(-0.3, 0.3, 6 * RATE_HZ), RATE_HZ)
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(content[:middle] + bytes(3_000) + content[middle + 3_000 :])


def test_a_run_inside_its_music_is_refused(tmp_path):
    folder = write_songs(tmp_path / "songs")
    with pytest.raises(ConfigError, match="choose a folder outside"):
        finetune(run_on(folder), folder / "runs" / "tuned", "descant finetune")
    assert not [*folder.rglob("state.json")]


@pytest.fixture
def songs(tmp_path) -> Path:
    return write_songs(tmp_path / "songs")


def run_on(folder: Path, run: FineTuneRun | None = None, **changes) -> FineTuneRun:
    """A run of a few steps of the tiny model."""
    run = run or FineTuneRun(lora=LoraConfig(rank=2, alpha=2.0))
    trainer = replace(run.trainer, max_steps=6, validate_every=2, save_every=2, device="cpu")
    batches = replace(run.batches, batch_size=2)
    listening = ListeningConfig(prompts=())
    fields = {
        "model": "tiny",
        "segment_s": 0.5,
        "minutes": None,
        "num_validation_crops": 2,
        "listening": listening,
        **changes,
    }
    return replace(run, folder=folder, trainer=trainer, batches=batches, **fields)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Finished:
    """A run that nothing interrupted, on music of which three files cannot be used."""
    folder = tmp_path_factory.mktemp("finished")
    songs = write_songs(folder / "songs")
    song(songs / "jingle.wav", 440, duration_s=2.0)
    (songs / "broken.wav").write_bytes(b"RIFF, but no audio")
    write_damaged_song(songs / "night.flac")
    run = run_on(songs, listening=ListeningConfig(duration_s=0.2))
    return Finished(songs, run, folder / "out", finetune(run, folder / "out", command="descant finetune songs"))


def test_files_that_cannot_be_used_are_named_and_both_splits_keep_music(finished):
    names = [Path(path).name for path in finished.result["left_out"]]
    assert sorted(names) == ["broken.wav", "jingle.wav", "night.flac"]
    splits = [record.split for record in read_manifest(finished.out_dir / "manifest.jsonl")]
    assert sorted(splits) == ["train", "train", "valid"]


def test_a_family_stays_in_one_split_when_a_damaged_clip_leaves_the_other_empty(songs, tmp_path):
    write_damaged_song(songs / "night.flac")
    write_families(songs, [[songs / "dawn.wav", songs / "noon.wav"]])
    first = scan_folder(songs, valid_share=0.15)
    assert [record.path.name for record in first.records if record.split == "valid"] == ["night.flac"]
    music = prepare_music(songs, tmp_path / "out", descant.load("tiny").model.codec, 0.15, note=lambda _: None)
    splits = {record.path.stem: record.split for record in music.records}
    assert splits == {"dawn": "train", "noon": "train", "dusk": "valid"}


def test_the_adapter_names_its_model_and_trigger_word_and_generates(finished):
    assert finished.result["trigger"] == "mysongs"
    model = descant.load("tiny")
    adapter = model.load_adapter(finished.result["adapter"])
    info = load_adapter(Path(finished.result["adapter"]), model.model)[1]
    assert (info.base, info.trigger, info.base_fingerprint) == ("tiny", "mysongs", model.fingerprint)
    assert model.generate("mysongs", duration_s=0.3, adapters=adapter).duration_s == pytest.approx(0.3, abs=0.02)


def test_card_and_page_say_what_was_done_and_need_no_other_file(finished):
    result = finished.result
    card = (Path(result["adapter"]) / "README.md").read_text(encoding="utf-8")
    for stated in ("mysongs", "descant finetune songs", "dawn.wav", "CC-BY-4.0", "unknown", "broken.wav", "night.flac"):
        assert stated in card
    assert f"{result['loss_before']:.3f}" in card
    assert f"{result['loss_after']:.3f}" in card
    page = Path(result["page"]).read_text(encoding="utf-8")
    prompts = ("mysongs", "mysongs, slow and calm", "mysongs, fast and lively", "warm slow piano")
    players = [f"Play {prompt}, {stage}" for prompt in prompts for stage in ("before", "during", "after")]
    assert re.findall(r'<audio [^>]*aria-label="([^"]*)"', page) == players
    assert page.count("<svg") == 2
    assert not re.search(r"(src|href)=\"(?!data:)", page)


def test_the_kept_step_is_the_best_on_held_out_music(finished):
    lines = [json.loads(line) for line in (finished.out_dir / "run" / "log.jsonl").read_text().splitlines()]
    losses = {line["step"]: line["ce"] for line in lines if line["kind"] == "validation"}
    assert finished.result["loss_before"] == losses[0]
    assert finished.result["loss_after"] == min(losses.values()) == losses[finished.result["best_step"]]


def test_a_folder_with_another_run_is_refused_by_the_field_that_differs(finished):
    with pytest.raises(ConfigError, match="trigger"):
        finetune(replace(finished.run, trigger="zorble"), finished.out_dir, command="")


def test_a_folder_with_anything_else_is_left_alone(finished):
    before = sorted(finished.songs.iterdir())
    with pytest.raises(ConfigError, match=r"broken\.wav"):
        finetune(run_on(finished.songs), finished.songs, command="")
    assert sorted(finished.songs.iterdir()) == before


def test_a_finished_run_is_not_trained_again(finished):
    assert finetune(finished.run, finished.out_dir, command="") == finished.result


@pytest.mark.usefixtures("unchecked")
def test_the_recipe_trains_the_same(finished, tmp_path):
    fields = {
        "lora.rank": 2,
        "lora.alpha": 2.0,
        "segment_s": 0.5,
        "minutes": "null",
        "num_validation_crops": 2,
        "trainer.max_steps": 6,
        "trainer.validate_every": 2,
        "trainer.save_every": 2,
        "batches.batch_size": 2,
        "listening.prompts": "[]",
    }
    settings = [word for name, value in fields.items() for word in ("--set", f"{name}={value}")]
    music = {"model": "tiny", "folder": finished.songs}
    in_recipe = [word for name, value in music.items() for word in ("--set", f"{name}={value}")]
    assert main(["train", "finetune", "--out", str(tmp_path), *in_recipe, *settings]) == 0
    ours = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    theirs = load_file(Path(finished.result["adapter"]) / "adapter_model.safetensors")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_run_that_learns_nothing_ends_early_and_leaves_the_model_as_it_was(songs, tmp_path):
    run = run_on(songs, patience=1)
    still = replace(run.trainer, max_steps=50, optimizer=replace(run.trainer.optimizer, lr=1e-30))
    result = finetune(replace(run, trainer=still), tmp_path / "out", command="")
    assert (result["best_step"], result["steps"], result["change"]) == (0, 2, 0.0)
    weights = load_file(Path(result["adapter"]) / "adapter_model.safetensors")
    assert not any(tensor.any() for name, tensor in weights.items() if "lora_B" in name)


def test_the_best_validation_is_remembered_and_those_since_are_counted(tmp_path):
    state = RunState(config={})
    losses = [(0, 4.0, True), (2, 5.0, False), (4, float("nan"), False), (6, 3.0, True), (8, 3.0, False)]
    assert all(state.add(step, {"ce": loss}) is is_best for step, loss, is_best in losses)
    state.write(tmp_path)
    assert [state.add(step, {"ce": loss}) for step, loss, _ in losses[-2:]] == [True, False], "known ones are as before"
    known = read_state(tmp_path)
    assert known is not None
    assert (known.best_step, known.misses) == (state.best_step, state.misses) == (6, 1)
    assert json.dumps(known.validations) == json.dumps(state.validations)


@pytest.mark.parametrize("stage", ["during", "after"])
def test_an_interrupted_run_goes_on_to_the_same_result(finished, tmp_path, monkeypatch, stage):
    listening = ListeningConfig(prompts=("TRIGGER",), duration_s=0.2)
    run, make = run_on(finished.songs, listening=listening), Listening.make

    def interrupted(self, now, model, adapter=None):
        make(self, now, model, adapter)
        if now == stage:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Listening, "make", interrupted)
        with pytest.raises(KeyboardInterrupt):
            finetune(run, tmp_path, command="")
    assert not (tmp_path / "result.json").exists()
    result = finetune(run, tmp_path, command="")
    assert result["loss_after"] == finished.result["loss_after"]
    ours, theirs = (
        load_file(Path(done["adapter"]) / "adapter_model.safetensors") for done in (result, finished.result)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("patience", [1, 4], ids=["stopped early", "all steps"])
def test_a_training_that_has_ended_is_not_trained_again(songs, tmp_path, monkeypatch, patience):
    """Stopped between its last step and its page, a run that had ended early once trained on."""
    run = run_on(songs, patience=patience)
    still = replace(run.trainer, optimizer=replace(run.trainer.optimizer, lr=1e-30))
    run = replace(run, trainer=still)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("descant.finetuning.run.page", interrupted)
        with pytest.raises(KeyboardInterrupt):
            finetune(run, tmp_path / "out", command="")
    log = (tmp_path / "out" / "run" / "log.jsonl").read_bytes()
    monkeypatch.setattr("descant.finetuning.run.Trainer", interrupted)
    assert finetune(run, tmp_path / "out", command="")["steps"] == (2 if patience == 1 else 6)
    assert (tmp_path / "out" / "run" / "log.jsonl").read_bytes() == log


def test_the_plan_is_timed_in_the_runs_precision_and_after_the_first_batch(songs, tmp_path, monkeypatch):
    run = run_on(songs, minutes=1.0)
    run = replace(run, trainer=replace(run.trainer, precision="bf16", max_steps=10**6))
    model = descant.load("tiny")
    music = prepare_music(songs, tmp_path, model.model.codec, run.valid_share, note=lambda _: None)
    training = make_training(run, model.model, music.tokens, AdapterInfo(base="tiny", base_fingerprint=""))
    loss, in_bf16, now_s = training.task.loss, [], [0.0]

    def slow_loss(phase, batch, context):
        now_s[0] += 0.125 if in_bf16 else 8.0
        in_bf16.append(torch.is_autocast_enabled("cpu"))
        return loss(phase, batch, context)

    monkeypatch.setattr(training.task, "loss", slow_loss)
    monkeypatch.setattr("descant.studies.speed.timing.time", SimpleNamespace(perf_counter=lambda: now_s[0]))
    plan = planned(training, minutes=1.0)
    assert in_bf16 == [True, True, True]
    assert plan.max_steps == int(0.85 * 60 / 0.125)
    assert all(parameter.grad is None for parameter in training.task.parameters()["lm"].values())


def test_a_full_run_writes_a_model_that_is_no_longer_the_original(songs, tmp_path):
    result = finetune(run_on(songs, full_run(), trigger="zorble"), tmp_path / "out", command="")
    tuned, original = descant.load(result["model"]), descant.load("tiny")
    changed = [
        name
        for name, tensor in original.model.state_dict().items()
        if not torch.equal(tuned.model.state_dict()[name], tensor)
    ]
    assert changed
    assert not any(name.startswith("codec.") for name in changed)
    assert "zorble" in (Path(result["model"]) / "README.md").read_text()


def test_music_that_cannot_be_used_is_refused_with_the_reason(tmp_path):
    empty, single, short = tmp_path / "empty", tmp_path / "single", tmp_path / "short"
    empty.mkdir()
    song(single / "only.wav", 220)
    for number in range(3):
        song(short / f"{number}.wav", 220, duration_s=1.0)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "song.mp3").write_bytes(b"no audio")
    cases = {empty: "no usable audio", single: "at least two", short: "at least 5 s", broken: "song.mp3"}
    for folder, reason in cases.items():
        with pytest.raises((DataError, AudioError), match=reason):
            finetune(run_on(folder), tmp_path / f"out-{folder.name}", command="")


def test_a_mistake_found_before_the_training_can_be_corrected_in_the_same_folder(songs, tmp_path):
    with pytest.raises(InvalidRequest, match="trigger"):
        finetune(run_on(songs, trigger="音楽"), tmp_path / "out", command="")
    run = run_on(songs, trigger="zorble")
    short = replace(run.trainer, max_steps=1)
    assert finetune(replace(run, trainer=short), tmp_path / "out", command="")["trigger"] == "zorble"


@pytest.mark.parametrize(
    ("name", "word"), [("Songs", "mysongs"), ("My Läut! 2024", "mymylaut2024"), ("音楽", "mymusic")], ids=str
)
def test_the_trigger_comes_from_the_folders_name_in_letters_that_encoders_know(name, word):
    assert trigger_from(name) == word
