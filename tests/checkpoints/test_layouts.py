"""A folder without a model is called so, with the place where the model is, or how to get one."""

import json
from pathlib import Path

import pytest

from descant.checkpoints import native
from descant.checkpoints.layouts import check_model, convert, load_codec, load_model, read_model_config
from descant.errors import CheckpointError


@pytest.fixture
def run_folder(tmp_path) -> Path:
    """What a training run leaves behind while it is at work."""
    folder = tmp_path / "run"
    (folder / "step-00000010").mkdir(parents=True)
    (folder / "step-00000010" / "state.json").write_text("{}")
    (folder / "log.jsonl").write_text("")
    return folder


def message_of(folder: Path) -> str:
    """What is said of a folder, the same whoever reads it."""
    messages = set()
    for read in (load_model, read_model_config, lambda place: convert(place, folder.parent / "new", "native")):
        with pytest.raises(CheckpointError) as caught:
            read(folder)
        messages.add(str(caught.value))
    messages.update(check_model(folder).problems)
    assert len(messages) == 1
    message = messages.pop()
    assert "\n" not in message
    return message


def test_a_training_run_points_to_its_model(run_folder, make_model):
    native.save_model(make_model(), run_folder / "model")
    assert message_of(run_folder) == (
        f"{run_folder} is a training run; its model is in {str(run_folder / 'model')!r}: name that"
    )


def test_a_training_run_without_a_model_yet_says_how_to_get_one(run_folder):
    assert "has not written its model yet" in message_of(run_folder)
    assert f"descant train RECIPE --out {run_folder} --resume" in message_of(run_folder)
    assert "is a checkpoint to go on training from" in message_of(run_folder / "step-00000010")


def test_a_folder_around_a_model_points_to_it(tmp_path, make_model):
    native.save_model(make_model(), tmp_path / "mine" / "model")
    assert "holds no model itself; its model is in" in message_of(tmp_path / "mine")


@pytest.mark.parametrize("files", [[], ["song.wav"], ["model.safetensors"]])
def test_a_folder_of_other_things_is_reported_to_hold_no_model(tmp_path, files):
    (tmp_path / "things").mkdir()
    for name in files:
        (tmp_path / "things" / name).write_bytes(b"")
    assert "holds no model: a config.json with weights" in message_of(tmp_path / "things")
    with pytest.raises(CheckpointError, match="holds no codec"):
        load_codec(tmp_path / "things")


def test_a_codec_is_no_model(tmp_path, make_model):
    model = make_model()
    native.save_codec(model.codec, model.config.codec, tmp_path / "codec")
    with pytest.raises(CheckpointError, match="holds a codec and no language model"):
        load_model(tmp_path / "codec")


def test_another_model_of_transformers_is_named(tmp_path):
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    assert "model_type='llama'; allowed are musicgen, musicgen_melody" in message_of(tmp_path / "llm")
