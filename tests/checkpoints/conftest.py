import hashlib
from pathlib import Path

import pytest
import torch

from descant.checkpoints import audiocraft, native
from tests.checkpoints.audiocraft_files import codec_tensors, lm_tensors, write

COMMIT = "c" * 40


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
def stand_ins(monkeypatch, word_hashes) -> None:
    """Seeds, and replaces the frozen encoders, whose weights are not here."""
    torch.manual_seed(0)
    for module in (audiocraft, native):
        monkeypatch.setattr(module, "load_text_encoder", lambda config, *_: word_hashes(config.text.dim))
        monkeypatch.setattr(module, "load_style_features", lambda *_: None)


@pytest.fixture
def folder(tmp_path) -> Path:
    """A tiny model in audiocraft's layout."""
    return write(tmp_path / "theirs", lm_tensors(), codec_tensors())
