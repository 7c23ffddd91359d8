"""What was measured of clips, as ``descant data caption`` writes it: a file apart from all that people write.

A line is ``{"file_name", "measured": {name: {"value", "confidence", "source"}}}``; names are those of tags. A scan uses
a measured value only where neither a description nor the tags in the file have that tag, so a person's words win.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from descant.atomic import write_atomically
from descant.data.json_lines import lines_of, read_rows
from descant.errors import DataError
from descant.tempo_key import parse_tempo_key

MEASURED_NAME = "measured.jsonl"


@dataclass(frozen=True, kw_only=True)
class MeasuredTag:
    """A tag's value, the probability from 0 to 1 that it is right, and the estimator."""

    value: str | float | list[str]
    confidence: float
    source: str


def read_measured(path: Path) -> dict[Path, dict[str, MeasuredTag]]:
    """The measured tags in a file by the absolute path of their clip.

    Raises:
        DataError: a line is invalid; the message has its number.
    """
    folder = path.absolute().parent
    rows = read_rows(path, "the measured tags", {"file_name": "a string", "measured": "an object"},
                     ("file_name", "measured"), _row)  # fmt: skip
    return {Path(os.path.normpath(folder / name)): tags for _, (name, tags) in rows}


def write_measured(path: Path, measured: Mapping[Path, Mapping[str, MeasuredTag]]) -> None:
    """Writes the measured tags of clips atomically, in the order of their names."""
    folder = path.absolute().parent
    rows = [
        {
            "file_name": clip.relative_to(folder).as_posix() if clip.is_relative_to(folder) else str(clip),
            "measured": {name: asdict(tag) for name, tag in tags.items()},
        }
        for clip, tags in sorted(measured.items())
    ]
    write_atomically(path, lines_of(rows))


def with_measured(
    tags: Mapping[str, Any], captions: Sequence[str], measured: Mapping[str, MeasuredTag]
) -> dict[str, Any]:
    """The tags of a clip, and the measured ones that neither they nor the captions state."""
    stated = stated_names(tags, captions)
    return {**tags, **{name: tag.value for name, tag in measured.items() if name not in stated}}


def stated_names(tags: Mapping[str, Any], captions: Sequence[str]) -> set[str]:
    """The names of the tags of a clip, with ``bpm`` and ``key`` if a caption states them in words."""
    texts = [parse_tempo_key(caption) for caption in captions]
    in_words = {
        "bpm": any(text.bpm is not None for text in texts),
        "key": any(text.is_minor is not None for text in texts),
    }
    return {*tags, *(name for name, is_stated in in_words.items() if is_stated)}


def _row(data: dict[str, Any]) -> tuple[str, dict[str, MeasuredTag]]:
    try:
        return data["file_name"], {name: MeasuredTag(**tag) for name, tag in data["measured"].items()}
    except TypeError as error:
        raise DataError(f"measured={data['measured']!r:.80}: each tag has value, confidence and source") from error
