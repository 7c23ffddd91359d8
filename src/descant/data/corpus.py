"""A tokenized training set: the clips of a folder of shards, whose codes and descriptions are read when they are used.

Two folders with the same clips in the same order are the same corpus, however their shards are arranged: a folder to
which songs were added, or whose captions were edited, equals one that was tokenized anew. What is kept in memory is the
text of the table and some numbers of each clip: 20,000 hours of songs take 200 MB in each process, and not 29 GB.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from jaxtyping import Int16
from torch import Tensor

from descant.config import to_dict
from descant.data.clip_features import FeatureKind, read_features
from descant.data.clip_table import TABLE_NAME, ClipRow, read_table, read_table_text, row_of, table_objects, table_text
from descant.data.manifest import Split
from descant.data.shard_index import ShardIndex, first_version_shards, read_index
from descant.data.shards import DescribedClip, Shard, TokenizedClip, open_shards, read_shard, shard_path
from descant.errors import DataError


class Places:
    """Where the codes of each recording are, in the order of the shards."""

    def __init__(self, shards: Mapping[int, Shard]) -> None:
        self.shards, self.positions = array("i"), array("i")
        self.starts, self.lengths = array("i"), array("i")
        self.numbers: dict[str, int] = {}
        for number, shard in shards.items():
            clips = shard.clips
            self.numbers |= {clip.audio: len(self.shards) + at for at, clip in enumerate(clips)}
            self.shards.extend([number] * len(clips))
            self.positions.extend(range(len(clips)))
            self.starts.extend([clip.start_frame for clip in clips])
            self.lengths.extend([clip.num_frames for clip in clips])


class CorpusClips(Sequence[TokenizedClip]):
    """The clips of a table, each made from its line when it is asked for.

    Args:
        lines: where in the text each clip's line begins.
        is_train: 1 for the clips of the training split.
        numbers: where each clip is among the places.
    """

    def __init__(
        self, text: str, lines: Sequence[int], is_train: Sequence[int], places: Places, numbers: Sequence[int]
    ) -> None:
        self._text = text
        self._lines = lines
        self._is_train = is_train
        self.shards = array("i", [places.shards[number] for number in numbers])
        """For each clip the number of its shard."""
        self.positions = array("i", [places.positions[number] for number in numbers])
        """Its position among the clips of the shard."""
        self.starts = array("i", [places.starts[number] for number in numbers])
        """The first of its frames in the shard."""
        self.lengths = array("i", [places.lengths[number] for number in numbers])
        """The number of its frames."""

    def __len__(self) -> int:
        return len(self.shards)

    @overload
    def __getitem__(self, number: int) -> TokenizedClip: ...

    @overload
    def __getitem__(self, number: slice) -> list[TokenizedClip]: ...

    def __getitem__(self, number: int | slice) -> TokenizedClip | list[TokenizedClip]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        start = self._lines[number]
        end = self._text.find("\n", start)
        row = row_of(self._text[start : len(self._text) if end < 0 else end])
        return TokenizedClip(
            id=row.id,
            start_frame=self.starts[number],
            num_frames=self.lengths[number],
            split=row.split,
            captions=row.captions,
            tags=row.tags,
            audio=row.audio,
        )

    def of_split(self, split: Split) -> list[int]:
        """The numbers of the clips of a split."""
        return [number for number, is_train in enumerate(self._is_train) if is_train == (split == "train")]


class ChosenClips(Sequence[TokenizedClip]):
    """Some clips of a corpus, in the order of their numbers."""

    def __init__(self, clips: CorpusClips, numbers: Sequence[int]) -> None:
        self._clips, self.numbers = clips, array("l", numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, number: int) -> TokenizedClip: ...

    @overload
    def __getitem__(self, number: slice) -> list[TokenizedClip]: ...

    def __getitem__(self, number: int | slice) -> TokenizedClip | list[TokenizedClip]:
        if isinstance(number, slice):
            return [self._clips[one] for one in self.numbers[number]]
        return self._clips[self.numbers[number]]

    @property
    def lengths(self) -> list[int]:
        """The number of frames of each."""
        return [self._clips.lengths[number] for number in self.numbers]


@dataclass(frozen=True)
class Corpus:
    """The clips of a folder in the order of its table.

    Args:
        identity: the training data as plain data: codec and settings, and a hash of all clips, captions and tags.
    """

    folder: Path
    index: ShardIndex
    clips: CorpusClips
    shards: Mapping[int, Shard]
    identity: dict[str, Any]
    _features: dict[str, list[Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def codes(self, number: int, offset: int = 0, num_frames: int | None = None) -> Int16[Tensor, "K _"]:
        """The codes of a clip, by its position in ``clips``, or those of its frames from ``offset`` on.

        Raises:
            DataError: the shard is damaged; it is checked when it is first read.
        """
        left = self.clips.lengths[number] - offset
        length = left if num_frames is None else min(num_frames, left)
        return self.shards[self.clips.shards[number]].read(self.clips.starts[number] + offset, length)

    def features(self, kind: FeatureKind) -> list[Tensor]:
        """The features of each clip that are stored next to the codes, read once.

        Raises:
            DataError: a file is missing or damaged, or was made from other codes or with other settings.
        """
        if repr(kind) not in self._features:
            used = set(self.clips.shards)
            rows = {number: read_features(self.folder, number, self.shards[number], kind) for number in used}
            places = zip(self.clips.shards, self.clips.positions, strict=True)
            self._features[repr(kind)] = [rows[shard][position] for shard, position in places]
        return self._features[repr(kind)]


def read_corpus(folder: str | os.PathLike[str]) -> Corpus:
    """The corpus in a folder that ``tokenize`` has written, of this version or the first.

    Raises:
        DataError: it was not written completely, a shard is missing or cannot be opened, or the table has an error.
    """
    index = read_index(folder)
    shards = open_shards(folder)
    if (Path(folder) / TABLE_NAME).exists():
        text = read_table_text(folder)
    else:
        rows = clip_rows(folder, shards)
        if rows is None:
            raise DataError(
                f"{str(folder)!r} has no {TABLE_NAME}, since tokenizing has not finished: "
                f"tokenize again, which creates only missing codes"
            )
        _require_shards(folder, shards)
        text = table_text(rows)
    clips, fingerprint = _placed(text, Path(folder), shards)
    identity = {"codec": to_dict(index.codec), "window_s": index.window_s, "clips_fingerprint": fingerprint}
    return Corpus(Path(folder), index, clips, shards, identity)


def _placed(text: str, folder: Path, shards: Mapping[int, Shard]) -> tuple[CorpusClips, str]:
    """The clips of a table with the places of their codes, and a hash of all of it."""
    places = Places(shards)
    lines, is_train, numbers = array("q"), array("b"), array("i")
    fingerprint, missing = _Fingerprint(), []
    for start, clip in table_objects(text, folder):
        number = places.numbers.get(clip["audio"])
        if number is None:
            missing.append(clip["id"])
            continue
        length = places.lengths[number]
        fingerprint.add([clip["id"], clip["audio"], length, clip["split"], clip["captions"], clip["tags"]])
        lines.append(start)
        is_train.append(clip["split"] == "train")
        numbers.append(number)
    if missing:
        raise DataError(
            f"{str(folder)!r} has no codes of {len(missing)} of its {len(numbers) + len(missing)} clips, first "
            f"{missing[0]!r}: tokenize again, which creates only missing codes"
        )
    return CorpusClips(text, lines, is_train, places, numbers), fingerprint.hexdigest()


class _Fingerprint:
    """The SHA-256 of a JSON list whose items come one by one. Many are written at once, which is faster."""

    BLOCK = 100

    def __init__(self) -> None:
        self._digest = hashlib.sha256(b"[")
        self._waiting: list[Any] = []
        self._separator = b""

    def add(self, item: Any) -> None:
        self._waiting.append(item)
        if len(self._waiting) == self.BLOCK:
            self._write()

    def hexdigest(self) -> str:
        self._write()
        self._digest.update(b"]")
        return self._digest.hexdigest()

    def _write(self) -> None:
        if self._waiting:
            items = json.dumps(self._waiting, ensure_ascii=True, sort_keys=True)[1:-1]
            self._digest.update(self._separator + items.encode())
            self._separator = b", "
            self._waiting.clear()


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
