"""Vectors and numbers of audio files that were computed before, found by the content of the file."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from descant.atomic import write_atomically
from descant.evaluation.embedded_clips import EmbeddedClip

VECTORS, LABELS = "vectors", "labels"
VERSION = 1


class Cache:
    """A folder with one small file for each entry. Several processes may use it at the same time.

    An entry that is damaged counts as missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def vectors(self, name: str, key: str) -> EmbeddedClip | None:
        """The vectors that were kept under a key, as those of a clip of this name."""
        content = self.read(key, ".safetensors")
        try:
            tensors = None if content is None else load(content)
        except SafetensorError:
            return None
        if tensors is None or VECTORS not in tensors:
            return None
        return EmbeddedClip(name, tensors[VECTORS], tensors.get(LABELS))

    def keep_vectors(self, key: str, clip: EmbeddedClip) -> None:
        """Keeps the vectors and label probabilities of a clip."""
        tensors: dict[str, Tensor] = {VECTORS: clip.vectors.contiguous()}
        if clip.label_probabilities is not None:
            tensors[LABELS] = clip.label_probabilities.contiguous()
        self.write(key, ".safetensors", save(tensors))

    def values(self, key: str) -> dict[str, float | None] | None:
        """The numbers that were kept under a key."""
        content = self.read(key, ".json")
        try:
            values = None if content is None else json.loads(content)
        except ValueError:
            return None
        return values if isinstance(values, dict) else None

    def keep_values(self, key: str, values: Mapping[str, float | None]) -> None:
        """Keeps numbers; minus infinity, the level of silence, is one of them."""
        self.write(key, ".json", json.dumps(dict(values)).encode())

    def read(self, key: str, suffix: str) -> bytes | None:
        """The content that was kept under a key, None if there is none."""
        try:
            return self._place(key, suffix).read_bytes()
        except OSError:
            return None

    def write(self, key: str, suffix: str, content: bytes) -> None:
        """Keeps content of any kind."""
        place = self._place(key, suffix)
        place.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(place, content)

    def _place(self, key: str, suffix: str) -> Path:
        return self.folder / key[:2] / f"{key}{suffix}"


def entry_key(content_sha256: str, *parts: Any) -> str:
    """The key of what was computed from a file: its content, and everything else that the result depends on."""
    described = json.dumps([VERSION, content_sha256, *parts], sort_keys=True, default=str)
    return hashlib.sha256(described.encode()).hexdigest()
