"""Files with a JSON object on each line, read strictly: manifests and the tables of tokenized clips."""

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from descant.errors import DataError

Row = TypeVar("Row")

_SHORT = 1e9
_JSON_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()

_CHECKS: dict[str, Callable[[Any], bool]] = {
    "a string": lambda value: isinstance(value, str),
    "'train' or 'valid'": lambda value: value in ("train", "valid"),
    "an integer": lambda value: type(value) is int,
    # NaN fails this too, as does an integer that does not fit a float.
    f"a number under {_SHORT:g}": lambda value: type(value) in (int, float) and abs(value) < _SHORT,
    "a list of strings": lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value),
    "an object": lambda value: isinstance(value, dict),
}
"""What a field may hold, in the words of error messages, and whether a value is that."""


def read_rows(
    path: str | os.PathLike[str],
    what: str,
    fields: Mapping[str, str],
    required: Sequence[str],
    make: Callable[[dict[str, Any]], Row],
) -> list[tuple[int, Row]]:
    """The number of each line that is not blank, and what its object describes.

    Args:
        what: the file is, for messages.
        fields: what each field holds, as named in ``_CHECKS``; an object has no other fields.
        required: the fields that every object must have.
        make: creates the row from an object whose fields are right, and may raise ``DataError``.

    Raises:
        DataError: the file cannot be read, or a line is wrong; the message has its number.
    """
    rows = []
    for number, _, data in objects_of(read_lines(path, what), path, fields, required):
        try:
            rows.append((number, make(data)))
        except DataError as error:
            raise _in_line(path, number, error) from error
    return rows


def read_lines(path: str | os.PathLike[str], what: str) -> str:
    """The text of such a file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except IsADirectoryError as error:
        raise DataError(f"cannot read {what} {str(path)!r}: it is a folder; name a file, perhaps one in it") from error
    except OSError as error:
        raise DataError(f"cannot read {what} {str(path)!r}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {what} {str(path)!r}: it is not text in UTF-8") from error


def objects_of(
    text: str, path: str | os.PathLike[str], fields: Mapping[str, str], required: Sequence[str]
) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Each line of a text that is not blank: its number, from 1, where it begins, and its object.

    Raises:
        DataError: as ``read_rows``.
    """
    checks = {name: _CHECKS[kind] for name, kind in fields.items()}
    needed = frozenset(required)
    start = 0
    for number in itertools.count(1):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        content = text[start:end].strip(_JSON_SPACE)
        if content and not content.isspace():
            try:
                data = _object(content)
                if not (data.keys() <= checks.keys() and needed <= data.keys()):
                    raise _wrong_keys(data, fields, required)
                for name, value in data.items():
                    if not checks[name](value):
                        raise DataError(f"{name}={value!r:.60}: expected {fields[name]}")
            except DataError as error:
                raise _in_line(path, number, error) from error
            yield number, start, data
        if end == len(text):
            return
        start = end + 1


def lines_of(objects: Iterable[Mapping[str, Any]]) -> bytes:
    """The content of a file with these objects.

    Raises:
        ValueError, TypeError: one cannot be JSON.
    """
    # ASCII: names that are not valid UTF-8 and captions with a line separator stay on one line.
    return "".join(json.dumps(one, ensure_ascii=True, allow_nan=False) + "\n" for one in objects).encode()


def _object(line: str) -> dict[str, Any]:
    try:
        # What json.loads does, less what it does first for each of a million lines.
        data, end = _DECODER.raw_decode(line)
        if end != len(line):
            raise json.JSONDecodeError("Extra data", line, end)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON ({error})") from error
    if not isinstance(data, dict):
        raise DataError(f"expected an object, got {line:.60}")
    return data


def _wrong_keys(data: Mapping[str, Any], fields: Mapping[str, str], required: Sequence[str]) -> DataError:
    unknown, missing = sorted(set(data) - set(fields)), [name for name in required if name not in data]
    what = f"unknown key {unknown[0]!r}" if unknown else f"{missing[0]!r} is missing"
    return DataError(f"{what}; a line has {', '.join(fields)}")


def _in_line(path: str | os.PathLike[str], number: int, error: DataError) -> DataError:
    return DataError(f"{str(path)!r}, line {number}: {error}")
