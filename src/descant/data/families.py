"""Families of clips of the same recording, as ``descant data check`` finds them: a file in the folder of a manifest.

A line is ``{"clips": [...]}`` with paths relative to that folder. A scan keeps all clips of a family in one split.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from descant.atomic import write_atomically
from descant.data.json_lines import lines_of, read_rows

FAMILIES_NAME = "families.jsonl"


def read_families(folder: str | os.PathLike[str]) -> list[list[Path]]:
    """The families that are stored in a folder, with absolute paths; none if the file is missing.

    Raises:
        DataError: a line is invalid; the message has its number.
    """
    path = Path(folder) / FAMILIES_NAME
    if not path.exists():
        return []
    root = Path(folder).absolute()
    rows = read_rows(path, "the families of clips", {"clips": "a list of strings"}, ("clips",), _clips)
    return [[Path(os.path.normpath(root / name)) for name in names] for _, names in rows]


def write_families(folder: str | os.PathLike[str], families: Sequence[Sequence[Path]]) -> Path:
    """Writes the families atomically and returns the file; paths outside the folder stay absolute."""
    root = Path(folder).absolute()
    path = root / FAMILIES_NAME
    rows = [{"clips": [_name(clip, root) for clip in family]} for family in families]
    write_atomically(path, lines_of(rows))
    return path


def _clips(data: dict[str, Any]) -> list[str]:
    names: list[str] = data["clips"]
    return names


def _name(clip: Path, root: Path) -> str:
    return clip.relative_to(root).as_posix() if clip.is_relative_to(root) else str(clip)
