"""The manifest: one line of JSON for every clip of a training set; ``data/scan.py`` creates it from a folder.

A line is ``{"path", "duration_s", "sample_rate_hz", "num_channels", "split", "captions", "tags"}``; paths are relative
to the manifest's folder, so that a training set can be moved as a whole. Keys of ``tags`` that captions are made from:
genre, style, instrument, instrument_family, moods, keywords, bpm, key, metre; others are kept.
"""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from descant.atomic import write_atomically
from descant.data.json_lines import lines_of, read_rows
from descant.errors import DataError

Split = Literal["train", "valid"]


@dataclass(frozen=True, kw_only=True)
class ClipRecord:
    """One clip of a training set with its metadata.

    ``captions`` are different wordings of the same description, of which one is drawn at a time.
    """

    path: Path
    duration_s: float
    sample_rate_hz: int
    num_channels: int
    split: Split = "train"
    captions: tuple[str, ...] = ()
    tags: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.duration_s > 0 and self.sample_rate_hz > 0 and self.num_channels > 0):
            raise DataError(
                f"duration_s={self.duration_s:g}, sample_rate_hz={self.sample_rate_hz}, "
                f"num_channels={self.num_channels}: all must be above 0"
            )


def read_manifest(path: str | os.PathLike[str], split: Split | None = None) -> list[ClipRecord]:
    """The clips of a manifest in order, with absolute paths; with ``split`` only those of one split.

    Only the manifest is read; ``descant data check`` checks the audio files.

    Raises:
        DataError: the file is missing or empty, or a line is invalid; the message has its number.
    """
    manifest = Path(path)
    records = []
    seen: dict[Path, int] = {}
    for number, row in read_rows(path, "the manifest", _FIELDS, _REQUIRED, _record):
        # normpath and not resolve: a training set may be a folder of links.
        record = dataclasses.replace(row, path=Path(os.path.normpath(manifest.absolute().parent / row.path)))
        if record.path in seen:
            raise DataError(
                f"{str(path)!r}, line {number}: {str(record.path)!r} is on line {seen[record.path]} already"
            )
        seen[record.path] = number
        records.append(record)
    chosen = [record for record in records if split is None or record.split == split]
    if not chosen:
        what = "clip" if not records else f"clip of split {split!r}"
        raise DataError(f"the manifest {str(path)!r} has no {what}; make one with: descant data scan FOLDER")
    return chosen


def require_files(records: list[ClipRecord]) -> None:
    """Checks that the file of every clip exists.

    Raises:
        DataError: some do not; a run would stop at the first step that draws one.
    """
    missing = [str(record.path) for record in records if not record.path.is_file()]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(records)} clips are not there, first {missing[0]!r}: put them back or scan again"
        )


def write_manifest(path: str | os.PathLike[str], records: list[ClipRecord]) -> None:
    """Writes the manifest atomically; paths under its folder become relative to it.

    Raises:
        DataError: it cannot be written, or a record's tags are not JSON.
    """
    folder = Path(path).absolute().parent
    try:
        write_atomically(path, lines_of(_fields_of(record, folder) for record in records))
    except (TypeError, ValueError) as error:
        raise DataError(f"cannot write the manifest {str(path)!r}: {error}") from error


def names_of(records: Sequence[ClipRecord], root: str | os.PathLike[str] | None = None) -> list[str]:
    """The clips' paths below a folder, which do not change when a training set is moved.

    Without ``root``, or if a clip is elsewhere, it is the folder that all clips are in.
    """
    paths = [Path(os.path.normpath(record.path.absolute())) for record in records]
    below = None if root is None else Path(os.path.normpath(Path(root).absolute()))
    if below is None or not all(path.is_relative_to(below) for path in paths):
        below = Path(os.path.commonpath([path.parent for path in paths]))
    return [path.relative_to(below).as_posix() for path in paths]


def _fields_of(record: ClipRecord, folder: Path) -> dict[str, Any]:
    path = record.path
    if path.is_absolute() and path.is_relative_to(folder):
        path = path.relative_to(folder)
    return {name: getattr(record, name) for name in _FIELDS} | {"path": path.as_posix()}


def _record(data: dict[str, Any]) -> ClipRecord:
    if not data["path"] or "\0" in data["path"]:
        raise DataError(f"path={data['path']!r:.60}: not a possible file name")
    return ClipRecord(
        path=Path(data.pop("path")),
        duration_s=float(data.pop("duration_s")),
        captions=tuple(data.pop("captions", ())),
        **data,
    )


_FIELDS = {
    "path": "a string",
    "duration_s": "a number under 1e+09",
    "sample_rate_hz": "an integer",
    "num_channels": "an integer",
    "split": "'train' or 'valid'",
    "captions": "a list of strings",
    "tags": "an object",
}
_REQUIRED = ("path", "duration_s", "sample_rate_hz", "num_channels")
