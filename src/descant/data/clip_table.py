"""The table of a folder of shards: which clips it has, with their captions, tags and splits.

``clips.jsonl`` has a line ``{"id", "audio", "split", "captions", "tags"}`` for each clip: its path below the manifest,
the digest by which the shards know its codes, and what training reads besides them. ``descant data tokenize`` writes it
from the manifest. It can also be edited by hand, for example where the audio is not at hand; codes are not affected.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from descant.data.json_lines import lines_of, objects_of, read_lines
from descant.data.manifest import Split
from descant.data.shards import write_file
from descant.errors import DataError

TABLE_NAME = "clips.jsonl"


@dataclass(frozen=True, kw_only=True)
class ClipRow:
    """One clip of the table; ``captions`` are different wordings of one description."""

    id: str
    audio: str
    split: Split
    captions: tuple[str, ...] = ()
    tags: dict[str, Any] = field(default_factory=dict)


def read_table(folder: str | os.PathLike[str]) -> list[ClipRow]:
    """The clips of a folder's table in order.

    Raises:
        DataError: it cannot be read, or a line is wrong; the message has its number.
    """
    return [_row(data) for _, data in table_objects(read_table_text(folder), folder)]


def read_table_text(folder: str | os.PathLike[str]) -> str:
    """The lines of a folder's table.

    Raises:
        DataError: it cannot be read.
    """
    return read_lines(Path(folder) / TABLE_NAME, "the table of clips")


def table_objects(text: str, folder: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Where each line of a table begins, and the fields of its clip, all of them.

    Raises:
        DataError: a line is wrong; the message has its number.
    """
    path = Path(folder) / TABLE_NAME
    names = set()
    for number, start, data in objects_of(text, path, _FIELDS, ("id", "audio")):
        name = data["id"]
        if name in names:
            raise DataError(f"{str(path)!r}, line {number}: there is another clip {name!r}")
        names.add(name)
        yield start, {**_DEFAULTS, **data}


def row_of(line: str) -> ClipRow:
    """The clip of a line that was read without an error."""
    return _row({**_DEFAULTS, **json.loads(line)})


def table_text(rows: Iterable[ClipRow]) -> str:
    """The table of these clips.

    Raises:
        TypeError, ValueError: tags are not JSON.
    """
    return lines_of(asdict(row) for row in rows).decode()


def write_table(folder: str | os.PathLike[str], rows: Sequence[ClipRow]) -> None:
    """Writes the table atomically.

    Raises:
        DataError: it cannot be written, or tags are not JSON.
    """
    path = Path(folder) / TABLE_NAME
    try:
        content = table_text(rows).encode()
    except (TypeError, ValueError) as error:
        raise DataError(f"cannot write {str(path)!r}: {error}") from error
    write_file(path, content)


def _row(data: Mapping[str, Any]) -> ClipRow:
    return ClipRow(**{**data, "captions": tuple(data["captions"]), "tags": dict(data["tags"])})


_FIELDS = {
    "id": "a string",
    "audio": "a string",
    "split": "'train' or 'valid'",
    "captions": "a list of strings",
    "tags": "an object",
}
_DEFAULTS: Mapping[str, Any] = {"split": "train", "captions": (), "tags": {}}
