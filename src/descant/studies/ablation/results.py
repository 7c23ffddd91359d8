"""The results of studies: a file to which every row appends one line of JSON as soon as it is judged."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from descant.errors import DataError

NAME = "results.jsonl"


def append(file: Path, line: Mapping[str, Any]) -> None:
    """Adds a line, which is on disk when this returns; the rest of a line that a killed process began is removed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.read_bytes() if file.exists() else b""
    kept = len(whole) if whole.endswith(b"\n") else whole.rfind(b"\n") + 1
    with file.open("r+b" if file.exists() else "wb") as stream:
        stream.truncate(kept)
        stream.seek(kept)
        stream.write(json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def read(file: Path) -> list[dict[str, Any]]:
    """The lines, without one that a killed process left unfinished; none if there is no file.

    Raises:
        DataError: a line is damaged.
    """
    if not file.exists():
        return []
    *whole, _ = file.read_bytes().split(b"\n")
    lines = []
    for number, text in enumerate(whole, start=1):
        try:
            lines.append(json.loads(text))
        except ValueError as error:
            raise DataError(f"{file}, line {number}: not JSON ({error}); remove the line") from error
    return lines


def lines_of(lines: list[dict[str, Any]], study: str) -> list[dict[str, Any]]:
    """The lines of one study."""
    return [line for line in lines if line["study"] == study]
