"""The table of a folder of shards: which clips it has, with their captions, tags and splits.

``clips.jsonl`` has a line ``{"id", "audio", "split", "captions", "tags"}`` for each clip: its path below the manifest,
the digest by which the shards know its codes, and what training reads besides them. ``descant data tokenize`` writes it
from the manifest. It can also be edited by hand, for example where the audio is not at hand; codes are not affected.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from descant.data.json_lines import lines_of, read_rows
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
    path = Path(folder) / TABLE_NAME
    rows: dict[str, ClipRow] = {}
    for number, row in read_rows(path, "the table of clips", _FIELDS, ("id", "audio"), _row):
        if row.id in rows:
            raise DataError(f"{str(path)!r}, line {number}: there is another clip {row.id!r}")
        rows[row.id] = row
    return list(rows.values())


def write_table(folder: str | os.PathLike[str], rows: Sequence[ClipRow]) -> None:
    """Writes the table atomically.

    Raises:
        DataError: it cannot be written, or tags are not JSON.
    """
    path = Path(folder) / TABLE_NAME
    try:
        content = lines_of(asdict(row) for row in rows)
    except (TypeError, ValueError) as error:
        raise DataError(f"cannot write {str(path)!r}: {error}") from error
    write_file(path, content)


def _row(data: dict[str, Any]) -> ClipRow:
    return ClipRow(**{"split": "train", **data, "captions": tuple(data.get("captions", ()))})


_FIELDS = {
    "id": "a string",
    "audio": "a string",
    "split": "'train' or 'valid'",
    "captions": "a list of strings",
    "tags": "an object",
}
