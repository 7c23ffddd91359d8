import contextlib
import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

import descant.api
from descant.apps.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command did: its exit code and what it printed."""

    code: int
    out: str
    err: str


def run_main(*words: str) -> Outcome:
    """Runs the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(word) for word in words])
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session", autouse=True)
def tiny_is_loaded_once() -> Iterator[None]:
    """Commands share the tiny model: nothing that a request sets outlives it, and loading is most of their time."""
    load = descant.api.load
    kept: dict[str, descant.MusicGen] = {}

    def load_or_take(model: str, **settings: str) -> descant.MusicGen:
        key = f"{model} {settings}"
        if model != "tiny" or key not in kept:
            kept[key] = load(model, **settings)
        return kept[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("descant.api.load", load_or_take)
        yield


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder) -> Callable[..., Outcome]:
    """Runs a command in an empty folder."""
    del folder
    return run_main


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> Path:
    """A folder with ``made.wav`` and ``made.safetensors``, half a second from the tiny model."""
    folder = tmp_path_factory.mktemp("made")
    outcome = run_main(
        *("generate", "a drum", "--model", "tiny", "-d", "0.5", "--seed", "7", "--top-k", "9"),
        *("-o", folder / "made.wav", "--save-codes", folder / "made.safetensors"),
    )
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory) -> Path:
    """A model folder of the tiny preset."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    outcome = run_main("models", "init", "tiny", folder)
    assert outcome.code == 0, outcome.err
    return folder


@pytest.fixture(scope="session")
def bad_sounds(tmp_path_factory) -> Path:
    """A folder of files that are called sound and are none."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("this is no sound\n" * 50)
    (folder / "picture.wav").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(500))
    (folder / "archive.wav").write_bytes(b"PK\x03\x04" + bytes(500))
    (folder / "page.mp3").write_text("<!doctype html><script>alert(1)</script>")
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1:9/secret.ts\n")
    (folder / "program.ogg").write_bytes(b"MZ\x90\x00" + bytes(500))
    noise = np.random.default_rng(0).uniform(-0.1, 0.1, 2_000).astype(np.float32)
    soundfile.write(folder / "whole.wav", noise, 8_000)
    whole = (folder / "whole.wav").read_bytes()
    (folder / "header.wav").write_bytes(whole[:44])
    (folder / "rate0.wav").write_bytes(whole[:24] + bytes(4) + whole[28:])
    (folder / "rate1.wav").write_bytes(whole[:24] + b"\1\0\0\0" + whole[28:])
    (folder / "channels0.wav").write_bytes(whole[:22] + bytes(2) + whole[24:])
    soundfile.write(folder / "none.wav", noise[:0], 8_000)
    soundfile.write(folder / "nan.wav", np.where(noise > 0.09, np.nan, noise), 8_000, subtype="FLOAT")
    soundfile.write(folder / "inf.wav", np.where(noise > 0.09, np.inf, noise), 8_000, subtype="FLOAT")
    soundfile.write(folder / "cut.flac", noise, 8_000)
    flac = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(flac[: len(flac) // 2])
    (folder / "whole.wav").unlink()
    os.mkfifo(folder / "pipe.wav")
    (folder / "zero.wav").symlink_to("/dev/zero")
    (folder / "broken.wav").symlink_to("nowhere.wav")
    (folder / "folder.wav").mkdir()
    return folder


BAD_SOUNDS = (
    *("empty.wav", "text.wav", "picture.wav", "archive.wav", "page.mp3", "list.m3u8", "program.ogg", "header.wav"),
    *("rate0.wav", "rate1.wav", "channels0.wav", "none.wav", "nan.wav", "inf.wav", "cut.flac", "pipe.wav", "zero.wav"),
    *("broken.wav", "folder.wav", "missing.wav", "a\nnew line.wav", "n" * 300 + ".wav", "nul\0.wav"),
)
"""Names in ``bad_sounds``, and some that no file there has."""


@pytest.fixture(params=BAD_SOUNDS, ids=lambda name: repr(name[:20]))
def bad_sound(request, bad_sounds) -> str:
    """The path of something that is no sound."""
    return str(bad_sounds / request.param)


@pytest.fixture
def refused(run, folder) -> Callable[..., str]:
    """Runs a command that must fail with one line and no file; gives the line."""

    def run_refused(code: int, *words: str) -> str:
        before = sorted(os.listdir(folder))
        outcome = run(*words)
        assert outcome.code == code, outcome
        assert outcome.out == ""
        assert outcome.err.startswith("descant: error: ")
        assert outcome.err.endswith("\n")
        assert outcome.err[:-1].isprintable()
        assert "Traceback" not in outcome.err
        assert len(outcome.err) < 1_500
        assert sorted(os.listdir(folder)) == before
        return outcome.err

    return run_refused
