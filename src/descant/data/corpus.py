"""A tokenized training set: the clips of a folder of shards, with their codes memory-mapped.

Two folders with the same clips in the same order are the same corpus, however their shards are arranged: a folder to
which songs were added, or whose captions were edited, equals one that was tokenized anew.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Int16
from torch import Tensor

from descant.config import to_dict
from descant.data.clip_features import FeatureKind, read_features
from descant.data.clip_table import TABLE_NAME, ClipRow, read_table
from descant.data.shards import (
    DescribedClip,
    Shard,
    ShardIndex,
    TokenizedClip,
    first_version_shards,
    read_index,
    read_shard,
    read_shards,
    shard_path,
)
from descant.errors import DataError


@dataclass(frozen=True)
class Corpus:
    """The clips of a folder in the order of its table."""

    folder: Path
    index: ShardIndex
    clips: tuple[TokenizedClip, ...]
    shards: Mapping[int, Shard]
    places: tuple[tuple[int, int], ...]
    """For each clip the number of its shard and its position there."""
    _features: dict[str, list[Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def codes(self, number: int) -> Int16[Tensor, "K T"]:
        """The codes of a clip, by its position in ``clips``."""
        clip = self.clips[number]
        return self.shards[self.places[number][0]].codes[:, clip.start_frame : clip.start_frame + clip.num_frames]

    def features(self, kind: FeatureKind) -> list[Tensor]:
        """The features of each clip that are stored next to the codes, read once.

        Raises:
            DataError: a file is missing or damaged, or was made from other codes or with other settings.
        """
        if repr(kind) not in self._features:
            used = {shard for shard, _ in self.places}
            rows = {number: read_features(self.folder, number, self.shards[number], kind) for number in used}
            self._features[repr(kind)] = [rows[shard][position] for shard, position in self.places]
        return self._features[repr(kind)]

    @property
    def identity(self) -> dict[str, Any]:
        """The training data as plain data: codec and settings, and a hash of all clips, captions and tags."""
        rows = [[clip.id, clip.audio, clip.num_frames, clip.split, clip.captions, clip.tags] for clip in self.clips]
        content = json.dumps(rows, ensure_ascii=True, sort_keys=True).encode()
        return {
            "codec": to_dict(self.index.codec),
            "window_s": self.index.window_s,
            "clips_fingerprint": hashlib.sha256(content).hexdigest(),
        }


def read_corpus(folder: str | os.PathLike[str]) -> Corpus:
    """The corpus in a folder that ``tokenize`` has written, of this version or the first.

    Raises:
        DataError: it was not written completely, a shard is missing or damaged, or the table has an error.
    """
    index = read_index(folder)
    shards = read_shards(folder)
    rows = clip_rows(folder, shards)
    if rows is None:
        raise DataError(
            f"{str(folder)!r} has no {TABLE_NAME}, since tokenizing has not finished: "
            f"tokenize again, which creates only missing codes"
        )
    if not (Path(folder) / TABLE_NAME).exists():
        _require_shards(folder, shards)
    places = {clip.audio: (number, at) for number, shard in shards.items() for at, clip in enumerate(shard.clips)}
    missing = [row.id for row in rows if row.audio not in places]
    if missing:
        raise DataError(
            f"{str(folder)!r} has no codes of {len(missing)} of its {len(rows)} clips, first {missing[0]!r}: "
            f"tokenize again, which creates only missing codes"
        )
    stored = [shards[number].clips[at] for number, at in (places[row.audio] for row in rows)]
    clips = tuple(
        TokenizedClip(
            id=row.id,
            start_frame=codes.start_frame,
            num_frames=codes.num_frames,
            split=row.split,
            captions=row.captions,
            tags=row.tags,
            audio=row.audio,
        )
        for row, codes in zip(rows, stored, strict=True)
    )
    return Corpus(Path(folder), index, clips, shards, tuple(places[row.audio] for row in rows))


def clip_rows(folder: str | os.PathLike[str], shards: Mapping[int, Shard]) -> list[ClipRow] | None:
    """The table of a folder, of version 1 from its shards; None if it has none yet.

    Raises:
        DataError: the table has an error.
    """
    if (Path(folder) / TABLE_NAME).exists():
        return read_table(folder)
    if first_version_shards(folder) is None:
        return None
    return [
        ClipRow(id=clip.id, audio=clip.audio, split=clip.split, captions=clip.captions, tags=clip.tags)
        for shard in shards.values()
        for clip in shard.clips
        if isinstance(clip, DescribedClip)
    ]


def _require_shards(folder: str | os.PathLike[str], shards: Mapping[int, Shard]) -> None:
    """Raises ``DataError`` if a shard of version 1 is missing, which is the only sign of a missing clip."""
    for number in range(first_version_shards(folder) or 0):
        if number not in shards:
            read_shard(shard_path(folder, number))
