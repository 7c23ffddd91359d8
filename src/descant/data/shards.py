"""Shards: the codes of many clips in one file, and the index that says how a folder of them was made.

A shard is a safetensors file with one tensor ``codes``, int16 [K, T], the clips concatenated, and a JSON list of the
clips in its metadata. A shard is a single file, so that it exists completely or not at all, and it is never changed.
A clip is known there by the digest of its audio; names, captions, tags and splits are in the table of the folder
(``clip_table.py``). In shards of version 1 they are in the shards.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from jaxtyping import Int16
from safetensors.torch import save
from torch import Tensor

from descant import config as config_files
from descant.atomic import write_atomically
from descant.codec.spec import CodecSpec
from descant.data.manifest import Split
from descant.errors import AudioError, ConfigError, DataError

INDEX_NAME = "index.json"
VERSION = 2


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """How the codes of a folder were made: by which codec, and in windows of which length."""

    codec: CodecSpec
    window_s: float
    version: int = VERSION

    def __post_init__(self) -> None:
        if not self.window_s > 0:
            raise ConfigError(f"window_s={self.window_s:g}: must be above 0")


@dataclass(frozen=True, kw_only=True)
class StoredClip:
    """The codes of one clip in a shard: ``codes[:, start_frame : start_frame + num_frames]``."""

    audio: str
    start_frame: int
    num_frames: int


@dataclass(frozen=True, kw_only=True)
class DescribedClip:
    """A clip as a shard of version 1 describes it; ``source`` is the manifest's description of its file, or ""."""

    id: str
    start_frame: int
    num_frames: int
    split: Split
    captions: tuple[str, ...] = ()
    tags: dict[str, Any] = field(default_factory=dict)
    source: str = ""

    @property
    def audio(self) -> str:
        """Its name, in the place of the digest that was not stored."""
        return f"name:{self.id}"


@dataclass(frozen=True, kw_only=True)
class TokenizedClip:
    """One clip of a corpus: its codes are ``num_frames`` frames of its shard, from ``start_frame`` on.

    ``captions`` are different wordings of one description; ``audio`` is the digest by which the shards know it.
    """

    id: str
    start_frame: int
    num_frames: int
    split: Split
    captions: tuple[str, ...] = ()
    tags: dict[str, Any] = field(default_factory=dict)
    audio: str = ""


@dataclass(frozen=True)
class Shard:
    """The codes of some clips, memory-mapped, and the clips' frames. If no clip could be read there are no frames."""

    codes: Int16[Tensor, "K T"]
    clips: tuple[StoredClip | DescribedClip, ...]


def shard_path(folder: str | os.PathLike[str], number: int) -> Path:
    """The path of a shard."""
    return Path(folder) / f"shard-{number:05d}.safetensors"


def read_shards(folder: str | os.PathLike[str]) -> dict[int, Shard]:
    """All shards of a folder by their numbers, in order.

    Raises:
        DataError: a shard is damaged.
    """
    matches = [re.fullmatch(r"shard-(\d{5,})\.safetensors", path.name) for path in Path(folder).iterdir()]
    return {
        number: read_shard(shard_path(folder, number)) for number in sorted(int(match[1]) for match in matches if match)
    }


def write_shard(path: Path, clips: Sequence[StoredClip], codes: Int16[Tensor, "K T"]) -> None:
    """Writes a shard atomically; the same content gives the same bytes.

    Raises:
        DataError: it cannot be written.
    """
    described = json.dumps([asdict(clip) for clip in clips], ensure_ascii=True, separators=(",", ":"))
    # One metadata entry: safetensors stores several in no fixed order.
    metadata = {"descant": json.dumps({"clips": described, "sha256": _checksum(described, codes)})}
    write_file(path, save({"codes": codes.contiguous()}, metadata))


def read_shard(path: Path) -> Shard:
    """A shard whose checksum is right, of this version or the first.

    Raises:
        DataError: it is missing, truncated or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            codes = file.get_tensor("codes")
            stored = json.loads((file.metadata() or {})["descant"])
        if _checksum(stored["clips"], codes) != stored["sha256"]:
            raise ValueError("its checksum is wrong")
        clips = json.loads(stored["clips"])
        kind: type[StoredClip] | type[DescribedClip] = (
            StoredClip if all("audio" in clip for clip in clips) else DescribedClip
        )
        return Shard(codes, tuple(config_files.from_dict(kind, clip) for clip in clips))
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the shard {str(path)!r} is missing or damaged ({error}): delete it and tokenize again, "
            f"which creates only missing codes"
        ) from error


def write_index(folder: str | os.PathLike[str], index: ShardIndex) -> None:
    """Writes the index of a folder.

    Raises:
        DataError: it cannot be written.
    """
    text = json.dumps(config_files.to_dict(index), indent=2) + "\n"
    write_file(Path(folder) / INDEX_NAME, text.encode())


def read_index(folder: str | os.PathLike[str]) -> ShardIndex:
    """The index of a folder of shards.

    Raises:
        DataError: it is missing, damaged, or of an unknown version.
    """
    data = _index_data(folder)
    if data.get("version") == 1:
        # The settings that an index had then describe the arrangement of the shards.
        data = {name: data[name] for name in ("codec", "window_s", "version") if name in data}
    try:
        index = config_files.from_dict(ShardIndex, data, path=INDEX_NAME)
    except ConfigError as error:
        raise DataError(f"{str(folder)!r} is not a folder of shards: {error}") from error
    if index.version not in (1, VERSION):
        raise DataError(f"{str(folder)!r} has version {index.version}, this program reads up to {VERSION}")
    return index


def first_version_shards(folder: str | os.PathLike[str]) -> int | None:
    """The number of shards of a complete folder of version 1; None for one of this version."""
    data = _index_data(folder)
    return None if data.get("version") != 1 else -(-int(data["num_clips"]) // int(data["shard_clips"]))


def _index_data(folder: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        data = json.loads((Path(folder) / INDEX_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{str(folder)!r} is not a folder of shards: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{str(folder)!r} is not a folder of shards: {INDEX_NAME} is no JSON object")
    return data


def checksum(description: str, tensor: Tensor) -> str:
    """The SHA-256 of a text and the bytes of a tensor."""
    digest = hashlib.sha256(description.encode())
    # A view, not a copy: shards are memory-mapped and may be larger than the memory.
    digest.update(memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy()))
    return digest.hexdigest()


def _checksum(described: str, codes: Tensor) -> str:
    return checksum(f"{described}{tuple(codes.shape)!r}", codes)


def write_file(path: Path, content: bytes) -> None:
    """Writes a file atomically.

    Raises:
        DataError: it cannot be written.
    """
    try:
        write_atomically(path, content)
    except AudioError as error:
        raise DataError(str(error)) from error
