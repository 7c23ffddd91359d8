"""Writing models: what is there is replaced as a whole or left as it was."""

import copy
from pathlib import Path

import pytest
from torch import Tensor

from descant.checkpoints import native
from descant.checkpoints.native import load_model, save_codec, save_model
from descant.errors import CheckpointError


@pytest.fixture(autouse=True)
def _the_tests_text_encoder(monkeypatch, word_hashes):
    monkeypatch.setattr(native, "load_text_encoder", lambda config, *_: word_hashes(config.text.dim))


@pytest.fixture
def folder(tiny_model, tmp_path) -> Path:
    save_model(tiny_model, tmp_path / "model")
    return tmp_path / "model"


def bits(tensors: dict[str, Tensor]) -> dict[str, bytes]:
    return {name: tensor.contiguous().numpy().tobytes() for name, tensor in tensors.items()}


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_model_replaces_a_model(tiny_model, folder, tmp_path):
    (folder / "README.md").write_text("old")
    louder = copy.deepcopy(tiny_model)
    louder.lm.norm.weight.mul_(2)
    save_model(louder, folder)
    assert bits(load_model(folder).state_dict()) == bits(louder.state_dict())
    assert not (folder / "README.md").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"], "nothing is left of the old one or of the writing"


@pytest.mark.parametrize("what", ["a file", "a photograph", "another library's model", "a model and a song"])
def test_a_folder_that_is_not_a_model_is_never_overwritten(tiny_model, folder, tmp_path, what):
    """Any folder with a config.json in it was once treated as a model of ours and deleted."""
    target = tmp_path / "target"
    if what == "a file":
        target.write_text("mine")
    elif what == "a model and a song":
        target = folder
        (folder / "song.wav").write_bytes(b"mine")
    else:
        target.mkdir()
        name = "holiday.jpg" if what == "a photograph" else "config.json"
        (target / name).write_text('{"model_type": "musicgen"}')
    before = target.read_bytes() if target.is_file() else files(target)
    for save in (
        lambda: save_model(tiny_model, target),
        lambda: save_codec(tiny_model.codec, tiny_model.config.codec, target),
    ):
        with pytest.raises(CheckpointError, match="choose another folder"):
            save()
    assert (target.read_bytes() if target.is_file() else files(target)) == before


def test_a_codec_never_replaces_a_whole_model(tiny_model, folder):
    before = files(folder)
    with pytest.raises(CheckpointError, match="choose another folder"):
        save_codec(tiny_model.codec, tiny_model.config.codec, folder)
    assert files(folder) == before


def test_an_empty_folder_and_missing_parents_are_accepted(tiny_model, tmp_path):
    (tmp_path / "empty").mkdir()
    save_model(tiny_model, tmp_path / "empty")
    save_model(tiny_model, tmp_path / "a" / "b" / "c")
    assert files(tmp_path / "empty") == files(tmp_path / "a" / "b" / "c")


@pytest.mark.parametrize("is_there", [True, False], ids=["over a model", "in a new folder"])
def test_a_failed_save_leaves_what_was_there(tiny_model, folder, tmp_path, monkeypatch, is_there):
    target = folder if is_there else tmp_path / "new"
    before = files(folder)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(native, "save_file", full_disk)
    with pytest.raises(CheckpointError, match="No space left"):
        save_model(tiny_model, target)
    assert files(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_interrupted_save_leaves_what_was_there(tiny_model, folder, tmp_path, monkeypatch):
    before = files(folder)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(native, "save_file", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_model(tiny_model, folder)
    assert files(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_link_to_a_model_keeps_pointing_to_the_new_one(tiny_model, folder, tmp_path):
    (tmp_path / "link").symlink_to(folder)
    save_model(tiny_model, tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert bits(load_model(tmp_path / "link").state_dict()) == bits(tiny_model.state_dict())
