"""Where results go: which files, checked before the work begins, and what is printed of them."""

import errno
import json
import logging
import os
import re
import stat
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descant.apps.cli.options import AUDIO_FORMATS
from descant.errors import InvalidRequest

MAX_SLUG_CHARACTERS = 40


@dataclass(frozen=True)
class Target:
    """A file, or a folder in which names are made up; ``suffix`` is without its dot."""

    path: Path
    is_folder: bool
    suffix: str

    def file(self, number: int, seed: int, text: str | None) -> Path:
        """The path of one result; its folder exists then. Of the prompt only harmless characters enter a name."""
        if not self.is_folder:
            return self.path
        self.path.mkdir(parents=True, exist_ok=True)
        return self.path / f"{number:04d}-seed{seed}-{slug(text)}.{self.suffix}"


def audio_target(output: str | None, format: str | None, num_files: int) -> Target:
    """The place for so many audio files; without ``output`` the current folder.

    Raises:
        InvalidRequest: the format is unknown, or the place cannot take these files.
    """
    return _target(output, num_files, AUDIO_FORMATS, format, default_suffix="wav")


def codes_target(output: str, num_files: int) -> Target:
    """The place for so many codes files; raises as ``audio_target``."""
    return _target(output, num_files, ("safetensors",), None, default_suffix="safetensors")


def slug(text: str | None) -> str:
    """The words of a text as part of a file name: of a-z, 0-9 and - only, at most 40 of them."""
    plain = unicodedata.normalize("NFKD", text or "").encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:MAX_SLUG_CHARACTERS].strip("-") or "music"


def show(result: dict[str, Any], lines: Sequence[str], as_json: bool) -> None:
    """Prints a result: exactly one JSON object, or lines for people."""
    if as_json:
        print(json.dumps(result, ensure_ascii=True, allow_nan=False))
    else:
        for line in lines:
            print(printable(line))


def note(text: str) -> None:
    """Tells people something on stderr, where it is in nobody's way."""
    print(printable(text), file=sys.stderr)


class _Notes(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        note(f"note: {record.getMessage()}")


def tell_what_is_logged() -> None:
    """Lets people read on stderr what the package logs of its choices."""
    log = logging.getLogger("descant")
    log.setLevel(logging.INFO)
    if not any(isinstance(handler, _Notes) for handler in log.handlers):
        log.addHandler(_Notes())


def printable(text: str) -> str:
    """The text on one line, with an escape for whatever a terminal could not show or would obey."""
    line = re.sub(r"\s*[\r\n]\s*", " ", text.strip())
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return escaped.encode(encoding, "backslashreplace").decode(encoding)


def _target(
    output: str | None, num_files: int, allowed: Sequence[str], suffix: str | None, default_suffix: str
) -> Target:
    path = Path("." if output is None else output)
    named = path.suffix.lower().lstrip(".")
    mode = _mode(path)
    if output is None or output.endswith(("/", os.sep)) or (mode is not None and stat.S_ISDIR(mode)):
        is_folder = True
    elif num_files > 1 and named in allowed:
        raise InvalidRequest(f"output {output!r}: one file for {num_files} results; give a folder: {path.stem + '/'!r}")
    else:
        is_folder = num_files > 1
    if not is_folder:
        suffix = _agreed(output or "", named, suffix, allowed)
        if mode is not None and not stat.S_ISREG(mode):
            raise InvalidRequest(f"output {output!r} is there and is no regular file; choose another name")
    _check_folder(path if is_folder else path.parent, may_be_new=is_folder)
    return Target(path, is_folder, suffix or default_suffix)


def _agreed(output: str, named: str, asked: str | None, allowed: Sequence[str]) -> str:
    """The format of a single file, by its name, by ``--format``, or by both."""
    if named in allowed and asked not in (None, named):
        raise InvalidRequest(f"output {output!r} and --format {asked} contradict each other; leave one of them out")
    if named not in allowed and asked is None:
        endings = ", ".join(f".{name}" for name in allowed)
        told = ", or add --format" if len(allowed) > 1 else ""
        raise InvalidRequest(f"output {output!r}: end the file in {endings}{told}; or end a folder in /")
    return asked or named


def _check_folder(folder: Path, may_be_new: bool) -> None:
    """Whatever can be known now of a later failure to write there."""
    nearest = folder
    while not os.path.lexists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if nearest != folder and not may_be_new:
        raise InvalidRequest(f"output: there is no folder {str(folder)!r:.300}; make it first")
    if not nearest.is_dir():
        raise InvalidRequest(f"output: {str(nearest)!r:.300} is not a folder; choose another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "no permission to write there", str(nearest))


def _mode(path: Path) -> int | None:
    """The mode of what is at this path; None if there is nothing."""
    try:
        return path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"output {str(path)!r:.300}: {getattr(error, 'strerror', None) or error}") from error
