"""Metadata of clips in text files: ``name.txt`` and ``name.json`` next to a clip, and tables that describe many clips.

The encoding is that of the byte-order mark, else UTF-8, else Windows-1252, which is noted. A file that cannot be read
raises ``DataError``; a scan reports it and continues.
"""

import codecs
import csv
import gzip
import io
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from descant.errors import DataError

CAPTION_KEYS = ("description", "caption", "captions", "text", "prompt")
"""Fields with captions, each a text or a list of texts. All other fields are tags."""

TECHNICAL_KEYS = frozenset(
    {"duration", "sample_rate", "file_extension", "amplitude", "weight", "info_path", "num_frames", "num_channels"}
)
"""Fields of audiocraft's files that do not describe the music; they are read from the audio file itself."""

MAX_DEPTH = 10
MAX_SIDECAR_BYTES = 1 << 20
MAX_TABLE_BYTES = 1 << 28
MAX_BAD_ROWS = 5
"""How many bad rows of a table are reported individually; the others are counted."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True, kw_only=True)
class Description:
    """A clip's metadata from one file; ``is_guessed`` if its encoding was not certain."""

    captions: tuple[str, ...] = ()
    tags: dict[str, Any] = field(default_factory=dict)
    is_guessed: bool = False


def read_text(path: Path, max_bytes: int = MAX_SIDECAR_BYTES) -> tuple[str, bool]:
    """The text of a file without its byte-order mark, and whether it was read as Windows-1252.

    Raises:
        DataError: it cannot be read, is larger than ``max_bytes``, or is not text.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(max_bytes + 1)
        if len(content) > max_bytes:
            raise DataError(f"{str(path)!r} has more than {max_bytes} bytes: this is not a file of captions")
        encoding = next((name for mark, name in _MARKS if content.startswith(mark)), None)
        text, is_guessed = (content.decode(encoding), False) if encoding else _decoded(content)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{str(path)!r} cannot be read ({error}): save it as UTF-8") from error
    if "\0" in text:
        raise DataError(f"{str(path)!r} contains NUL characters: save it as UTF-8")
    return text, is_guessed


def read_text_sidecar(path: Path) -> Description:
    """The captions in a text file, one per line."""
    text, is_guessed = read_text(path)
    return Description(
        captions=tuple(line.strip() for line in text.splitlines() if line.strip()), is_guessed=is_guessed
    )


def read_json_sidecar(path: Path) -> Description:
    """The metadata in a JSON object: MusicGen's fields (audiocraft's sidecars), or any others."""
    text, is_guessed = read_text(path)
    captions, tags = describe(parse_json(text, repr(str(path))), repr(str(path)))
    return Description(captions=captions, tags=tags, is_guessed=is_guessed)


def read_table(path: Path, note: Callable[[str], None]) -> dict[Path, Description]:
    """The descriptions in a table by the path of their clip; relative paths are below the table's folder.

    Invalid rows are skipped; ``note`` gets the line and the reason of the first ones and the number of the others.

    ``metadata.csv`` and ``metadata.jsonl`` name a clip by ``file_name`` (Hugging Face's audio folders), audiocraft's
    ``data.jsonl`` by ``path``.
    """
    text, is_guessed = read_text(path, MAX_TABLE_BYTES)
    described: dict[Path, Description] = {}
    bad: list[str] = []
    for where, row in _csv_rows(path, text, bad) if path.suffix == ".csv" else _json_rows(path, text):
        try:
            name, captions, tags = _described_clip(parse_json(row, where) if isinstance(row, str) else row, where)
        except DataError as error:
            bad.append(str(error))
            continue
        clip = Path(os.path.normpath(path.absolute().parent / name))
        if clip in described:
            earlier = described[clip]
            captions, tags = earlier.captions + captions, {**tags, **earlier.tags}
        described[clip] = Description(captions=captions, tags=tags, is_guessed=is_guessed)
    for reason in bad[:MAX_BAD_ROWS]:
        note(f"not read: {reason}")
    if len(bad) > MAX_BAD_ROWS:
        note(f"not read: {len(bad) - MAX_BAD_ROWS} more rows of {str(path)!r}")
    return described


def _described_clip(row: dict[str, Any], where: str) -> tuple[str, tuple[str, ...], dict[str, Any]]:
    """The name of a row's clip, its captions and its tags."""
    names = [row.pop(key) for key in ("file_name", "path") if key in row]
    if not names or not isinstance(names[0], str) or not names[0] or "\0" in names[0]:
        raise DataError(f"{where}: no file_name (or path) that names a clip")
    return (names[0], *describe(row, where))


def describe(data: dict[str, Any], where: str) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The captions and tags of one object, without empty fields.

    Raises:
        DataError: a caption field has another type, or a text is invalid Unicode; the message begins with ``where``.
    """
    if not _is_flat(data, MAX_DEPTH):
        raise DataError(f"{where}: objects and lists are nested more than {MAX_DEPTH} deep")
    tags = {key: value for key, value in data.items() if value not in (None, "", []) and key not in TECHNICAL_KEYS}
    captions: list[str] = []
    for key in CAPTION_KEYS:
        value = tags.pop(key, None)
        texts = [] if value is None else value if isinstance(value, list) else [value]
        if not all(isinstance(text, str) for text in texts):
            raise DataError(f"{where}: {key}={value!r:.60}: expected a text or a list of texts")
        captions += [text.strip() for text in texts if text.strip()]
    if any("\ud800" <= letter <= "\udfff" for letter in json.dumps([captions, tags], ensure_ascii=False)):
        raise DataError(f"{where}: a text is invalid Unicode (half of a surrogate pair)")
    return tuple(captions), tags


def parse_json(text: str, where: str) -> dict[str, Any]:
    """A JSON object without NaN and infinite numbers, which a manifest cannot contain.

    Raises:
        DataError: it is not one; the message begins with ``where``.
    """
    try:
        data = json.loads(text, parse_constant=_refuse_number, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise DataError(f"{where}: expected a JSON object, got {text.strip()!r:.40}")
    return data


def _decoded(content: bytes) -> tuple[str, bool]:
    try:
        return content.decode("utf-8"), False
    except UnicodeDecodeError:
        return content.decode("cp1252"), True


def _csv_rows(path: Path, text: str, bad: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows with their locations; ``bad`` gets the reason for each row that cannot be parsed."""
    header = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=next((sign for sign in ",;\t" if sign in header), ","))
    while True:
        where = f"{str(path)!r}, line {reader.line_num + 1}"
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            bad.append(f"{where}: {error}")
            if reader.line_num == 0:
                return
            continue
        # Cells beyond those of the header are collected under None.
        yield f"{str(path)!r}, line {reader.line_num}", {key: value for key, value in row.items() if key is not None}


def _json_rows(path: Path, text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{str(path)!r}, line {number}", line


def _is_flat(value: Any, depth: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_flat(item, depth - 1) for item in inner)


def _refuse_number(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _finite(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse_number(digits)
