"""The manifest: one line of JSON for every clip of a training set; ``data/scan.py`` creates it from a folder.

A line is ``{"path", "duration_s", "sample_rate_hz", "num_channels", "split", "captions", "tags"}``; paths are relative
to the manifest's folder, so that a training set can be moved as a whole. Keys of ``tags`` that captions are made from:
genre, style, instrument, instrument_family, moods, keywords, bpm, key, metre; others are kept.
"""

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from descant.atomic import write_atomically
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

    Only the manifest is read; ``doctor.check`` checks the audio files.

    Raises:
        DataError: the file is missing or empty, or a line is invalid; the message has its number.
    """
    manifest = Path(path)
    try:
        lines = manifest.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the manifest {str(path)!r}: {error}") from error
    records = []
    seen: dict[Path, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = _parse(line)
        except DataError as error:
            raise DataError(f"{str(path)!r}, line {number}: {error}") from error
        # normpath and not resolve: a training set may be a folder of links.
        record = dataclasses.replace(record, path=Path(os.path.normpath(manifest.absolute().parent / record.path)))
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
        text = "".join(_line(record, folder) + "\n" for record in records)
        write_atomically(path, text.encode())
    except (TypeError, ValueError) as error:
        raise DataError(f"cannot write the manifest {str(path)!r}: {error}") from error


def _line(record: ClipRecord, folder: Path) -> str:
    path = record.path
    if path.is_absolute() and path.is_relative_to(folder):
        path = path.relative_to(folder)
    data = {name: getattr(record, name) for name in _FIELDS} | {"path": path.as_posix()}
    # ASCII: paths that are not valid UTF-8 and captions with a line separator stay on one line.
    return json.dumps(data, ensure_ascii=True, allow_nan=False)


def _parse(line: str) -> ClipRecord:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})") from error
    if not isinstance(data, dict):
        raise DataError(f"expected an object, got {line:.60}")
    unknown, missing = sorted(set(data) - set(_FIELDS)), [name for name in _REQUIRED if name not in data]
    if unknown or missing:
        what = f"unknown key {unknown[0]!r}" if unknown else f"{missing[0]!r} is missing"
        raise DataError(f"{what}; a line has {', '.join(_FIELDS)}")
    for name, value in data.items():
        if not _CHECKS[_FIELDS[name]](value):
            raise DataError(f"{name}={value!r:.60}: expected {_FIELDS[name]}")
    if not data["path"] or "\0" in data["path"]:
        raise DataError(f"path={data['path']!r:.60}: not a possible file name")
    return ClipRecord(
        path=Path(data.pop("path")),
        duration_s=float(data.pop("duration_s")),
        captions=tuple(data.pop("captions", ())),
        **data,
    )


_SHORT = 1e9

_CHECKS: dict[str, Callable[[Any], bool]] = {
    "a string": lambda value: isinstance(value, str),
    "'train' or 'valid'": lambda value: value in get_args(Split),
    "an integer": lambda value: type(value) is int,
    # NaN fails this too, as does an integer that does not fit a float.
    f"a number under {_SHORT:g}": lambda value: type(value) in (int, float) and abs(value) < _SHORT,
    "a list of strings": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "an object": lambda value: isinstance(value, dict),
}
_FIELDS = {
    "path": "a string",
    "duration_s": f"a number under {_SHORT:g}",
    "sample_rate_hz": "an integer",
    "num_channels": "an integer",
    "split": "'train' or 'valid'",
    "captions": "a list of strings",
    "tags": "an object",
}
_REQUIRED = ("path", "duration_s", "sample_rate_hz", "num_channels")
