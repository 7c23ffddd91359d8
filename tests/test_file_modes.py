"""Written files and folders keep their mode and owner; new ones have the mode that the umask gives."""

import os
from pathlib import Path

import pytest
import torch

from descant import atomic
from descant.atomic import replacing_folder, write_atomically, write_new
from descant.audio import Clip
from descant.checkpoints.native import save_model
from descant.errors import AudioError


@pytest.fixture
def umask():
    """Sets the umask for one test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def mode(path) -> str:
    return oct(os.stat(path).st_mode & 0o777)


@pytest.mark.parametrize("bits", [0o600, 0o664, 0o640, 0o755])
def test_an_existing_file_keeps_its_mode(tmp_path, umask, bits):
    umask(0o022)
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(bits)
    write_atomically(path, b"new")
    assert mode(path) == oct(bits)


@pytest.mark.parametrize(("mask", "bits"), [(0o022, "0o644"), (0o077, "0o600"), (0o002, "0o664")])
def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path, umask, mask, bits):
    umask(mask)
    write_atomically(tmp_path / "a", b"new")
    assert mode(write_new(tmp_path / "b", b"new")) == mode(tmp_path / "a") == bits


def test_a_private_file_is_never_readable_by_others_not_even_while_it_is_written(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o600)
    seen = []
    replace = os.replace
    monkeypatch.setattr(
        atomic.os, "replace", lambda a, b: (seen.append((mode(a), mode(Path(a).parent))), replace(a, b))
    )
    write_atomically(path, b"new")
    assert seen == [("0o600", "0o700")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_another_user_stays_theirs(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    os.chown(path, 65_534, 65_534)
    write_atomically(path, b"new")
    assert (path.stat().st_uid, path.stat().st_gid) == (65_534, 65_534)


def test_a_clip_is_saved_this_way(tmp_path, umask):
    umask(0o027)
    (tmp_path / "link.wav").symlink_to("b.wav")
    Clip(torch.zeros(1, 100), 8_000).save(tmp_path / "link.wav")
    assert mode(tmp_path / "b.wav") == "0o640"
    with pytest.raises(AudioError, match="--stream -"):
        Clip(torch.zeros(1, 100), 8_000).save("/dev/stdout", format="wav")


def test_a_folder_has_the_modes_of_the_umask_or_those_it_had(tmp_path, umask):
    umask(0o027)
    for text in ("first", "second"):
        with replacing_folder(tmp_path / "model", Path.is_dir) as new:
            for name in ("config", "weights", "text/weights"):
                (new / name).parent.mkdir(exist_ok=True)
                (new / name).write_text(text)
                (new / name).chmod(0o600)  # as safetensors does
        if text == "first":
            assert {mode(path) for path in (tmp_path / "model").rglob("*") if path.is_file()} == {"0o640"}
            assert mode(tmp_path / "model") == "0o750"
            (tmp_path / "model").chmod(0o700)
            (tmp_path / "model" / "text/weights").chmod(0o600)
    assert mode(tmp_path / "model") == "0o700"
    assert mode(tmp_path / "model/text/weights") == "0o600"
    assert mode(tmp_path / "model/weights") == "0o640"


def test_saved_weights_have_the_mode_of_the_config(tmp_path, tiny_model, umask):
    umask(0o022)
    save_model(tiny_model, tmp_path / "model")
    assert {mode(path) for path in (tmp_path / "model").rglob("*") if path.is_file()} == {"0o644"}
