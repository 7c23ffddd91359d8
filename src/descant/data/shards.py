"""Shards: the codes of many clips in one file, and the index with the inputs and settings of a folder of shards.

A shard is a safetensors file with one tensor ``codes``, int16 [K, T], the clips concatenated, and a JSON list of the
clips in its metadata. A shard is a single file, so that it exists completely or not at all. The folder's ``index.json``
is written first: it is the plan that lets an interrupted run continue and a changed training set be detected.
"""

import hashlib
import json
import os
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
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ShardIndex:
    """The plan of a folder of shards."""

    codec: CodecSpec
    records_fingerprint: str
    num_clips: int
    shard_clips: int
    batch_size: int
    window_s: float
    version: int = VERSION

    def __post_init__(self) -> None:
        if min(self.num_clips, self.shard_clips, self.batch_size) < 1 or not self.window_s > 0:
            raise ConfigError(
                f"num_clips={self.num_clips}, shard_clips={self.shard_clips}, batch_size={self.batch_size}, "
                f"window_s={self.window_s:g}: all must be above 0"
            )

    @property
    def num_shards(self) -> int:
        """The number of shards in the complete folder."""
        return -(-self.num_clips // self.shard_clips)


@dataclass(frozen=True, kw_only=True)
class TokenizedClip:
    """One clip of a shard: its frames are ``codes[:, start_frame : start_frame + num_frames]``.

    ``source`` is the manifest's description of its file, "" in shards of older versions.
    """

    id: str
    start_frame: int
    num_frames: int
    split: Split
    captions: tuple[str, ...] = ()
    tags: dict[str, Any] = field(default_factory=dict)
    source: str = ""


@dataclass(frozen=True)
class Shard:
    """The codes of some clips, and the clips' frames. If no clip could be read there are no frames."""

    codes: Int16[Tensor, "K T"]
    clips: tuple[TokenizedClip, ...]


def shard_path(folder: str | os.PathLike[str], number: int) -> Path:
    """The path of a shard."""
    return Path(folder) / f"shard-{number:05d}.safetensors"


def write_shard(path: Path, clips: Sequence[TokenizedClip], codes: Int16[Tensor, "K T"]) -> None:
    """Writes a shard atomically; the same content gives the same bytes.

    Raises:
        DataError: it cannot be written.
    """
    described = json.dumps([asdict(clip) for clip in clips], ensure_ascii=True, separators=(",", ":"))
    # One metadata entry: safetensors stores several in no fixed order.
    metadata = {"descant": json.dumps({"clips": described, "sha256": _checksum(described, codes)})}
    write_file(path, save({"codes": codes.contiguous()}, metadata))


def read_shard(path: Path) -> Shard:
    """A shard whose checksum is right.

    Raises:
        DataError: it is missing, truncated or damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            # Cloned: safetensors maps the file, so that later writes to it would show here.
            codes = file.get_tensor("codes").clone()
            stored = json.loads((file.metadata() or {})["descant"])
        if _checksum(stored["clips"], codes) != stored["sha256"]:
            raise ValueError("its checksum is wrong")
        clips = [config_files.from_dict(TokenizedClip, clip) for clip in json.loads(stored["clips"])]
    except (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the shard {str(path)!r} is missing or damaged ({error}): delete it and tokenize again, "
            f"which creates only missing shards"
        ) from error
    return Shard(codes, tuple(clips))


def clips_fingerprint(shards: Sequence[Shard]) -> str:
    """A hash of the clips in the shards: names, lengths, captions and tags."""
    clips = [[asdict(clip) for clip in shard.clips] for shard in shards]
    return hashlib.sha256(json.dumps(clips, ensure_ascii=True, sort_keys=True).encode()).hexdigest()


def write_index(folder: str | os.PathLike[str], index: ShardIndex) -> None:
    """Writes the plan of a folder.

    Raises:
        DataError: it cannot be written.
    """
    text = json.dumps(config_files.to_dict(index), indent=2) + "\n"
    write_file(Path(folder) / INDEX_NAME, text.encode())


def read_index(folder: str | os.PathLike[str]) -> ShardIndex:
    """The plan of a folder of shards.

    Raises:
        DataError: it is missing, damaged, or of another format version.
    """
    path = Path(folder) / INDEX_NAME
    try:
        index = config_files.read_json(ShardIndex, path)
    except (OSError, ConfigError) as error:
        raise DataError(f"{str(folder)!r} is not a folder of shards: {error}") from error
    if index.version != VERSION:
        raise DataError(f"{str(path)!r} has version {index.version}, this program reads {VERSION}: tokenize again")
    return index


def checksum(description: str, tensor: Tensor) -> str:
    """The SHA-256 of a text and the bytes of a tensor."""
    digest = hashlib.sha256(description.encode())
    digest.update(tensor.contiguous().view(torch.uint8).numpy().tobytes())
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
