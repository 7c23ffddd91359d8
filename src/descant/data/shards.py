"""Shards: the codes of many clips in one file.

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import torch
from jaxtyping import Int16
from safetensors.torch import save
from torch import Tensor

from descant import config as config_files
from descant.atomic import write_atomically
from descant.data.manifest import Split
from descant.errors import AudioError, DataError

MAX_HEADER_BYTES = 100_000_000
"""Of a shard, as in the safetensors library."""
_DAMAGES = (OSError, safetensors.SafetensorError, ValueError, KeyError, TypeError, OverflowError, RecursionError)


class StoredClip(NamedTuple):
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


class Shard:
    """A file with the codes of some clips. If no clip could be read there are no frames.

    The codes are checked when they are first used. Nothing is kept in memory, since a corpus may be larger than that.

    Raises:
        DataError: it is missing or truncated, or, also while clips and codes are read, damaged.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_checked = False
        try:
            self._first_byte, header = self._header()
            codes = header["codes"]
            self.num_codebooks, self.num_frames = codes["shape"]
            if codes["dtype"] != "I16":
                raise ValueError("its codes are not 16-bit integers")
            if not all(type(size) is int and size >= 0 for size in codes["shape"]):
                raise ValueError("the shape of its codes is not one of whole numbers")
            num_bytes = 2 * self.num_codebooks * self.num_frames
            if codes["data_offsets"] != [0, num_bytes] or path.stat().st_size != self._first_byte + num_bytes:
                raise ValueError("it is not as long as its codes")
        except _DAMAGES as error:
            raise self._damaged(error) from error

    @property
    def clips(self) -> tuple[StoredClip | DescribedClip, ...]:
        """Its clips, which are read again each time."""
        try:
            clips = json.loads(self._description()[0])
            if all("audio" in clip for clip in clips):
                # Not by from_dict, which is slow for the clips of a large corpus; the checksum covers the rest.
                stored = tuple(StoredClip(**clip) for clip in clips)
                if not all(0 <= clip.start_frame <= self.num_frames - clip.num_frames for clip in stored):
                    raise ValueError("its clips are not in its frames")
                return stored
            return tuple(config_files.from_dict(DescribedClip, clip) for clip in clips)
        except _DAMAGES as error:
            raise self._damaged(error) from error

    @property
    def num_clips(self) -> int:
        """The number of its clips."""
        return len(self.clips)

    @property
    def codes(self) -> Int16[Tensor, "K T"]:
        """All codes, memory-mapped."""
        self.check()
        with safetensors.safe_open(self._path, framework="pt") as file:
            return file.get_tensor("codes")

    def read(self, start_frame: int, num_frames: int) -> Int16[Tensor, "K _"]:
        """The codes of some frames, read from the file. A mapped file would stay in memory as far as it was read."""
        self.check()
        codes = np.empty((self.num_codebooks, num_frames), np.int16)
        try:
            with self._path.open("rb") as file:
                for row in range(self.num_codebooks):
                    file.seek(self._first_byte + 2 * (row * self.num_frames + start_frame))
                    if file.readinto(codes[row]) != codes[row].nbytes:
                        raise ValueError("it has been cut short")
        except (OSError, ValueError) as error:
            raise self._damaged(error) from error
        return torch.from_numpy(codes)

    def check(self) -> None:
        """Compares all bytes with the checksum, once."""
        if self._is_checked:
            return
        try:
            described, sha256 = self._description()
            digest = hashlib.sha256(f"{described}{(self.num_codebooks, self.num_frames)!r}".encode())
            with self._path.open("rb") as file:
                file.seek(self._first_byte)
                while block := file.read(2**20):
                    digest.update(block)
            if digest.hexdigest() != sha256:
                raise ValueError("its checksum is wrong")
        except _DAMAGES as error:
            raise self._damaged(error) from error
        self._is_checked = True

    def _description(self) -> tuple[str, str]:
        """The list of its clips as JSON, and the checksum of that and the codes."""
        stored = json.loads(self._header()[1]["__metadata__"]["descant"])
        return stored["clips"], stored["sha256"]

    def _header(self) -> tuple[int, Any]:
        """Where the codes begin in the file, and its header.

        It is read by hand. The library maps the file, which took twenty seconds for the 1,563 shards of 20,000 hours
        where they had not been read before.
        """
        with self._path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > MAX_HEADER_BYTES:
                raise ValueError(f"its header claims {length} bytes")
            return 8 + length, json.loads(file.read(length))

    def _damaged(self, error: Exception) -> DataError:
        return DataError(
            f"the shard {str(self._path)!r} is missing or damaged ({error}): delete it and tokenize again, "
            f"which creates only missing codes"
        )


def shard_path(folder: str | os.PathLike[str], number: int) -> Path:
    """The path of a shard."""
    return Path(folder) / f"shard-{number:05d}.safetensors"


def read_shards(folder: str | os.PathLike[str]) -> dict[int, Shard]:
    """All shards of a folder by their numbers, in order, with their checksums compared.

    Raises:
        DataError: a shard is damaged.
    """
    shards = open_shards(folder)
    for shard in shards.values():
        shard.check()
    return shards


def open_shards(folder: str | os.PathLike[str]) -> dict[int, Shard]:
    """All shards of a folder by their numbers, in order.

    Raises:
        DataError: a shard cannot be opened.
    """
    matches = [re.fullmatch(r"shard-(\d{5,})\.safetensors", path.name) for path in Path(folder).iterdir()]
    return {number: Shard(shard_path(folder, number)) for number in sorted(int(match[1]) for match in matches if match)}


def write_shard(path: Path, clips: Sequence[StoredClip], codes: Int16[Tensor, "K T"]) -> None:
    """Writes a shard atomically; the same content gives the same bytes.

    Raises:
        DataError: it cannot be written.
    """
    described = json.dumps([clip._asdict() for clip in clips], ensure_ascii=True, separators=(",", ":"))
    # One metadata entry: safetensors stores several in no fixed order.
    metadata = {"descant": json.dumps({"clips": described, "sha256": _checksum(described, codes)})}
    write_file(path, save({"codes": codes.contiguous()}, metadata))


def read_shard(path: Path) -> Shard:
    """A shard whose checksum is right, of this version or the first.

    Raises:
        DataError: it is missing, truncated or damaged.
    """
    shard = Shard(path)
    shard.check()
    return shard


def checksum(description: str, tensor: Tensor) -> str:
    """The SHA-256 of a text and the bytes of a tensor."""
    digest = hashlib.sha256(description.encode())
    # A view, not a copy: shards are memory-mapped and may be larger than the memory.
    digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
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
