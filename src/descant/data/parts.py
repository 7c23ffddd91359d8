"""Tokenizing on several machines: each writes its part of the codes into a folder of its own, a last run joins them::

    shards/
      part-1-of-2/     a folder of shards of every second block of clips, from the first one on
      part-2-of-2/

A block has as many clips as a shard, so the batches are those of a single machine, and with them the codes: for the
starter's codec. Other codecs may round differently in another batch, where clips of a block have their codes already.
"""

import re
import shutil
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jaxtyping import Int16
from torch import Tensor

from descant.data.shard_index import INDEX_NAME, ShardIndex, read_index, write_index
from descant.data.shards import read_shards
from descant.errors import DataError, InvalidRequest
from descant.folder_lock import NAME as LOCK_NAME

T = TypeVar("T")
_NAME = re.compile(r"part-\d+-of-\d+")


@dataclass(frozen=True)
class Part:
    """The share of one of ``count`` machines, from 1."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise InvalidRequest(
                f"part {self.number}/{self.count}: the first number is 1 to the second, for example 2/8"
            )

    def own(self, items: Sequence[T], block: int = 1) -> list[T]:
        """The items of this share: every ``count``-th block of them."""
        return [item for at, item in enumerate(items) if at // block % self.count == self.number - 1]

    def folder(self, folder: Path) -> Path:
        """Where this share of a folder of shards is written."""
        return folder / f"part-{self.number}-of-{self.count}"


def part_folders(folder: Path) -> list[Path]:
    """The folders of parts that are not yet joined."""
    return sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name)) if folder.is_dir() else []


def begin_folder(folder: Path, index: ShardIndex) -> None:
    """Writes the index into a new folder, or checks that the shards of an existing one fit.

    Raises:
        DataError: the folder has other contents, or codes of another codec or with other windows.
    """
    if all(path.name.startswith(".") or _NAME.fullmatch(path.name) for path in folder.iterdir()):
        write_index(folder, index)
        return
    found = read_index(folder)
    changed = [name for name in ("codec", "window_s") if getattr(found, name) != getattr(index, name)]
    if changed:
        raise DataError(
            f"{str(folder)!r} was started with another {' and '.join(changed)}: its shards would be inconsistent. "
            f"Use a new folder, or delete this one"
        )


class JoinedParts:
    """The codes of parts, by the digests of their audio.

    Args:
        folders: those of the parts, locked.

    Raises:
        DataError: a part has codes of another codec or with other windows, or is damaged.
    """

    def __init__(self, folders: Sequence[Path], index: ShardIndex) -> None:
        self._codes: dict[str, Tensor] = {}
        self._held: dict[Path, set[str]] = {folder: set() for folder in folders}
        for part in folders:
            begin_folder(part, index)
            for shard in read_shards(part).values():
                codes = shard.codes
                for clip in shard.clips:
                    self._held[part].add(clip.audio)
                    self._codes[clip.audio] = codes[:, clip.start_frame : clip.start_frame + clip.num_frames]

    @property
    def folders(self) -> list[Path]:
        """Those of the parts."""
        return [*self._held]

    def codes(self, audio: str) -> Int16[Tensor, "K _"] | None:
        """The codes of a recording; None if no part has them."""
        return self._codes.get(audio)

    def remove(self, stored: Set[str]) -> list[Path]:
        """Deletes the parts whose codes are all stored elsewhere now, and gives the others, which stay as they are.

        Args:
            stored: the digests of what is stored elsewhere.
        """
        self._codes.clear()
        kept = []
        for folder, held in self._held.items():
            if held <= stored:
                _remove(folder)
            else:
                kept.append(folder)
        return kept


def _remove(folder: Path) -> None:
    """Deletes a part, its index last: what a killed process leaves of it is still a part."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in (INDEX_NAME, LOCK_NAME):
            path.unlink()
    shutil.rmtree(folder)
