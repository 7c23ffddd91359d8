"""Where results go: which files, checked before the work begins, and what is printed of them."""

import errno
import json
import logging
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from descant.apps.cli.options import AUDIO_FORMATS
from descant.apps.cli.standard_streams import binary_stdout
from descant.atomic import place_of, write_all, write_atomically, write_new
from descant.errors import InvalidRequest

STDOUT = "-"
MAX_SLUG_CHARACTERS = 40
MAX_SLUG_BYTES = 90
"""With a number, a seed and a suffix that stays under the 143 bytes that encrypted home folders allow for a name."""
JOINERS = "\u200c\u200d"
"""Invisible, and part of the spelling of words and of emoji; the other invisible characters turn the text around."""


@dataclass(frozen=True)
class Target:
    """A file, a folder in which names are made up, or standard output (``-``).

    Args:
        suffix: the format, without a dot.
        may_replace: whether an existing file is replaced. One that the user named is, as ``cp`` does; a name that was
            made up never takes the place of earlier music.
    """

    path: Path
    is_folder: bool
    suffix: str
    may_replace: bool = True
    is_stdout: bool = False

    def write(self, content: bytes, stem: str) -> Path:
        """Writes one result and gives its path. In a folder its name is ``stem``, or the next free one: ``stem-2``.

        Raises:
            AudioError: it cannot be written.
        """
        if self.is_stdout:
            write_all(sys.stdout.buffer, content)
            sys.stdout.buffer.flush()
            return self.path
        if self.is_folder:
            self.path.mkdir(parents=True, exist_ok=True)
            return write_new(self.path / f"{stem}.{self.suffix}", content)
        if not self.may_replace:
            return write_new(self.path, content)
        write_atomically(self.path, content)
        return self.path


def audio_target(output: str | None, format: str | None, num_files: int, *, takes_stdout: bool = False) -> Target:
    """The place for a number of audio files; without ``output`` the current folder.

    Raises:
        InvalidRequest: the format is unknown, or the place cannot take these files.
        OSError: standard output is closed, or the user may not write there.
    """
    if output == STDOUT and takes_stdout and num_files == 1:
        binary_stdout("--output -")
        return Target(Path(STDOUT), is_folder=False, suffix=format or "wav", is_stdout=True)
    return _target(output, num_files, AUDIO_FORMATS, format, default_suffix="wav")


def codes_target(output: str, num_files: int) -> Target:
    """The place for a number of codes files; raises as ``audio_target``."""
    return _target(output, num_files, ("safetensors",), None, default_suffix="safetensors")


def slug(text: str | None) -> str:
    """The words of a text as part of a file name: lower-case letters and digits of any script, joined by ``-``.

    At most 40 characters and 90 bytes, whole letters with their combining marks, composed (NFKC) where that is defined.
    """
    lowered = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text or "").lower())
    encoding = sys.getfilesystemencoding()
    name = ""
    for letter in _letters(lowered.encode(encoding, "ignore").decode(encoding)):
        if len(name + letter) > MAX_SLUG_CHARACTERS or len((name + letter).encode()) > MAX_SLUG_BYTES:
            break
        name += letter
    return name.strip("-") or "music"


def show(result: dict[str, Any], lines: Sequence[str], as_json: bool) -> None:
    """Prints a result: exactly one JSON object, or lines for people."""
    with faults_name_stdout():
        if as_json:
            print(json.dumps(result, ensure_ascii=True, allow_nan=False))
        else:
            for line in lines:
                print(escaped(line))


@contextmanager
def faults_name_stdout() -> Iterator[None]:
    """Inside the block an error of writing, a broken pipe aside, says that standard output is where it happened."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def note(text: str) -> None:
    """Writes a line for people to stderr, where it does not mix with the results."""
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
    return escaped(re.sub(r"\s*[\r\n]\s*", " ", text.strip()))


def escaped(text: str) -> str:
    """The text as it is, and so a path that leads to its file, but for an escape where a terminal would obey."""
    return "".join(c if _is_harmless(c) else c.encode("unicode_escape").decode() for c in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs" or character in JOINERS


def _letters(text: str) -> list[str]:
    """Letters and digits, each with the marks that follow it, and a ``-`` for whatever stands between words."""
    letters: list[str] = []
    for character in text:
        kind = unicodedata.category(character)
        if kind == "Cf" or "\ufe00" <= character <= "\ufe0f":  # joiners and variants, invisible within words
            continue
        if kind[0] == "L" or kind == "Nd":
            letters.append(character)
        elif letters and letters[-1] != "-":
            if kind in ("Mn", "Mc"):
                letters[-1] += character
            else:
                letters.append("-")
    return letters


def _target(
    output: str | None, num_files: int, allowed: Sequence[str], suffix: str | None, default_suffix: str
) -> Target:
    if output is not None and not output.strip():
        raise InvalidRequest(
            f"output {output!r} is empty: name a file, or a folder ending in / (./ is the current one)"
        )
    if output == STDOUT:
        raise InvalidRequest("output '-': standard output takes one audio file of generate or regenerate; name a file")
    path = Path("." if output is None else os.path.expanduser(output))
    named = path.suffix.lower().lstrip(".")
    if output is None or output.endswith(("/", os.sep)) or os.path.isdir(path):
        is_folder = True
    elif num_files > 1 and named in allowed:
        folder = f"{path.with_suffix('')}/"
        raise InvalidRequest(f"output {output!r}: one file for {num_files} results; give a folder: {folder!r}")
    else:
        is_folder = num_files > 1
    if is_folder:
        _check_folder(path, may_be_new=True)
    else:
        suffix = _agreed_suffix(output or "", named, suffix, allowed)
        _check_folder(_place(output or "", path).parent, may_be_new=False)
    return Target(path, is_folder, suffix or default_suffix)


def _agreed_suffix(output: str, named: str, asked: str | None, allowed: Sequence[str]) -> str:
    """The format of a single file, by its name, by ``--format``, or by both."""
    if named in allowed and asked not in (None, named):
        raise InvalidRequest(f"output {output!r} and --format {asked} contradict each other; leave one of them out")
    if named not in allowed and asked is None:
        if named.strip() in allowed:
            raise InvalidRequest(f"output {output!r} ends in white space; take it away")
        if Path(output).name.lower().lstrip(".") in allowed:
            raise InvalidRequest(f"output {output!r} is a suffix without a name; for example {'music' + output!r}")
        endings = ", ".join(f".{name}" for name in allowed)
        or_format = ", or add --format" if len(allowed) > 1 else ""
        raise InvalidRequest(f"output {output!r}: end the file in {endings}{or_format}; or end a folder in /")
    return asked or named


def _place(output: str, path: Path) -> Path:
    """Where a file will be, links followed.

    Raises:
        InvalidRequest: no file can be there.
        PermissionError: the file is write-protected.
    """
    try:
        return place_of(path)
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"output {output!r:.300}: {getattr(error, 'strerror', None) or error}") from error


def _check_folder(folder: Path, may_be_new: bool) -> None:
    """Whatever can be known now of a later failure to write there."""
    nearest = folder
    while not _exists(nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if nearest != folder and not may_be_new:
        raise InvalidRequest(f"output: there is no folder {str(folder)!r:.300}; make it first")
    if not nearest.is_dir():
        raise InvalidRequest(f"output: {str(nearest)!r:.300} is not a folder; choose another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "no permission to write there", str(nearest))


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        raise
    except (OSError, ValueError) as error:  # a name that no folder can have
        raise InvalidRequest(f"output {str(path)!r:.300}: {getattr(error, 'strerror', None) or error}") from error
    return True
