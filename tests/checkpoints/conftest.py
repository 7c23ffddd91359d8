"""Model folders: a hub cache, a model in audiocraft's layout, and models to spoil in every layout."""

import hashlib
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from descant.checkpoints import audiocraft, native
from descant.conditioning.text import T5Text
from tests.checkpoints.audiocraft_files import codec_tensors, lm_tensors, write
from tests.checkpoints.hostile import CHECK, FILE_IS_WRONG, GENERATE, Spoil, run

COMMIT = "c" * 40
MOST_SECONDS = 600
MOST_BYTES = 300 * 2**20


class Cache:
    """A hub cache as the library lays it out: files are links to blobs, which are named by their checksums."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, hub_id: str, files: dict[str, bytes], revision: str = "main") -> Path:
        """Stores files as that revision, and gives the folder that the library would give."""
        repo = self.root / f"models--{hub_id.replace('/', '--')}"
        folder = repo / "snapshots" / COMMIT
        for place in (repo / "refs", repo / "blobs", folder):
            place.mkdir(parents=True, exist_ok=True)
        (repo / "refs" / revision).write_text(COMMIT)
        for name, content in files.items():
            blob = repo / "blobs" / self.name_of(name, content)
            blob.write_bytes(content)
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).symlink_to(blob)
        return folder

    @staticmethod
    def name_of(name: str, content: bytes) -> str:
        if name.endswith(".json"):
            return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return hashlib.sha256(content).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Cache:
    """An empty cache, and a library that asks no network."""
    constants = pytest.importorskip("huggingface_hub").constants
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return Cache(tmp_path / "cache")


@pytest.fixture
def text_encoder_stand_in(monkeypatch, word_hashes) -> None:
    """Replaces the frozen text encoder, whose weights are not here."""
    _replace_text_encoder(monkeypatch, word_hashes)


@pytest.fixture
def stand_ins(monkeypatch, word_hashes) -> None:
    """Seeds, and replaces the frozen encoders, whose weights are not here."""
    torch.manual_seed(0)
    _replace_text_encoder(monkeypatch, word_hashes)
    for module in (audiocraft, native):
        monkeypatch.setattr(module, "load_style_features", lambda *_: None)


def _replace_text_encoder(monkeypatch, word_hashes) -> None:
    for module in (audiocraft, native):
        monkeypatch.setattr(module, "load_text_encoder", lambda config, *_: word_hashes(config.text.dim))


@pytest.fixture
def folder(tmp_path) -> Path:
    """A tiny model in audiocraft's layout."""
    return write(tmp_path / "theirs", lm_tensors(), codec_tensors())


@pytest.fixture
def time_limit() -> Iterator[None]:
    """A pipe or a device in place of a file must not be waited for."""

    def too_long(*_: object) -> None:
        raise TimeoutError("it is still reading")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(MOST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def sound_folders(tmp_path_factory, make_model, transformers_model) -> dict[str, Path]:
    """A model that loads, in every layout; for reading only."""
    root = tmp_path_factory.mktemp("sound")
    native.save_model(make_model(), root / "native")
    audiocraft.save_model(make_model(text=T5Text(name="t5-base", dim=12)), root / "audiocraft")
    folders = {"native": root / "native", "audiocraft": root / "audiocraft"}
    return {**folders, **{kind: transformers_model(kind).folder for kind in ("odd", "melody")}}


@pytest.fixture
def refused(sound_folders, tmp_path, monkeypatch) -> Callable[[str, str, Spoil], str]:
    """Spoils a file of a model, and makes sure that it is refused by both commands; gives what is said."""
    monkeypatch.chdir(tmp_path)

    def spoil_and_run(layout: str, name: str, spoil: Spoil) -> str:
        shutil.copytree(sound_folders[layout], tmp_path / "model")
        spoil(tmp_path / "model" / name)
        before = sorted(os.listdir(tmp_path)), _peak_bytes()
        for words in (CHECK, GENERATE):
            outcome = run(*words)
            assert outcome.code == FILE_IS_WRONG, outcome
            assert outcome.out == ""
            assert outcome.err.startswith("descant: error: ")
            assert outcome.err.count("\n") == 1
            assert "Traceback" not in outcome.err
            assert len(outcome.err) < 1_500
        assert sorted(os.listdir(tmp_path)) == before[0], "nothing was written, by us or by what the file holds"
        assert _peak_bytes() - before[1] < MOST_BYTES
        return outcome.err

    return spoil_and_run


def _peak_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1_024 * peak
