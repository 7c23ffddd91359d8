"""JSON files of a model folder, and the errors of the configs in them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from descant.errors import CheckpointError, ConfigError

MAX_JSON_BYTES = 2**22


@contextmanager
def config_errors_of(path: Path) -> Iterator[None]:
    """Turns contradictions in a stored config, and sizes beyond any memory, into errors that name its file."""
    try:
        yield
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except (RuntimeError, OverflowError, TypeError) as error:  # torch's errors for sizes that cannot be addressed
        reason = str(error).split("\n")[0][:200]
        raise CheckpointError(f"{path}: no model can be made of its config ({reason})") from error


def write_json(data: Mapping[str, Any], file: Path) -> None:
    """Writes a JSON file for ``read_json``."""
    file.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")


def read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: the file is missing, too long, or not a JSON object.
    """
    # Reading a device or a pipe might never end.
    if not file.is_file():
        raise CheckpointError(f"{file} is missing: a model folder needs it")
    if file.stat().st_size > MAX_JSON_BYTES:
        raise CheckpointError(f"{file}: {file.stat().st_size} bytes, a config has at most {MAX_JSON_BYTES}")
    try:
        data = json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=without_repeats)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not a JSON file ({error})") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{file}: expected an object, got {type(data).__name__}")
    return data


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A ``json.loads`` hook that refuses an object with a repeated key: which value is meant would be unclear."""
    plain = dict(pairs)
    if len(plain) != len(pairs):
        raise ValueError("an object has one key twice")
    return plain
