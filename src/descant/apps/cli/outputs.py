"""Where results go: files and folders, checked before the work begins, and what is printed about them."""

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
"""Invisible, and part of the spelling of words and of emoji; other invisible characters reverse the text."""


@dataclass(frozen=True)
class Target:
    """A file, a folder in which each result gets a name of its own, or standard output (``-``).

    Args:
        suffix: the format, without a dot.
        may_replace: whether an existing file is replaced. A file that the user named is, as by ``cp``; a name made up
            here never replaces earlier music.
    """

    path: Path
    is_folder: bool
    suffix: str
    may_replace: bool = True
    is_stdout: bool = False

    def write(self, content: bytes, stem: str, companion: "Target | None" = None) -> Path:
        """Writes one result and gives its path. In a folder its name is ``stem``, or the next free one: ``stem-2``.

        Args:
            companion: where another file is written next, which gets the same stem if that is a folder, too.

        Raises:
            AudioError: it cannot be written.
        """
        if self.is_stdout:
            write_all(sys.stdout.buffer, content)
            sys.stdout.buffer.flush()
            return self.path
        if self.is_folder:
            self.path.mkdir(parents=True, exist_ok=True)
            folders = (self,) if companion is None or not companion.is_folder else (self, companion)
            path, *beside = (one.path / f"{stem}.{one.suffix}" for one in folders)
            return write_new(path, content, beside)
        if not self.may_replace:
            return write_new(self.path, content)
        write_atomically(self.path, content)
        return self.path


def audio_target(output: str | None, format: str | None, num_files: int, *, takes_stdout: bool = False) -> Target:
    """The target for a number of audio files; without ``output`` the current folder.

    Raises:
        InvalidRequest: the format is unknown, or the place cannot take these files.
        OSError: standard output is closed, or the user may not write there.
    """
    if output == STDOUT and takes_stdout and num_files == 1:
        binary_stdout("--output -")
        return Target(Path(STDOUT), is_folder=False, suffix=format or "wav", is_stdout=True)
    return _target("--output", output, num_files, AUDIO_FORMATS, format)


def codes_target(option: str, output: str, num_files: int) -> Target:
    """The target for a number of codes files, given by this option; raises as ``audio_target``."""
    return _target(option, output, num_files, ("safetensors",), None)


def midi_target(output: str) -> Target:
    """The target for one MIDI file; raises as ``audio_target``."""
    target = _target("--output", output, 1, ("mid", "midi"), None)
    if target.is_folder:
        raise InvalidRequest(f"--output {output!r:.300}: a folder; name the file to write")
    return target


def check_outside(option: str, output: str, **sources: str | Path) -> None:
    """Refuses to write into a folder that is read: what is written would become a part of it.

    Args:
        option: what names the folder to write.
        sources: the folders that are read, by what they hold.

    Raises:
        InvalidRequest: it is one of these, or lies in one.
    """
    place = Path(os.path.realpath(os.path.expanduser(output)))
    for name, source in sources.items():
        read = Path(os.path.realpath(os.path.expanduser(source)))
        if read.is_dir() and (place == read or read in place.parents):
            where = "is" if place == read else "lies in"
            raise InvalidRequest(
                f"{option} {output!r:.300}: it {where} the folder of the {name.replace('_', ' ')}, which is read; "
                "choose a place outside"
            )


def check_apart(audio: Target, codes: Target | None, as_json: bool) -> None:
    """Refuses two results in one place.

    Raises:
        InvalidRequest: standard output or one file would hold two of audio, codes and JSON.
    """
    if audio.is_stdout and as_json:
        raise InvalidRequest("--json: both it and --output - write to standard output; leave one of them out")
    if codes is None or audio.is_folder or codes.is_folder:
        return
    if place_of(audio.path) == place_of(codes.path):
        raise InvalidRequest(f"--save-codes {str(codes.path)!r}: the audio goes there; name another file")


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
    """Names standard output in the write errors of the block, except in a broken pipe."""
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


def show_log() -> None:
    """Writes what the package logs about its choices to stderr."""
    log = logging.getLogger("descant")
    log.setLevel(logging.INFO)
    if not any(isinstance(handler, _Notes) for handler in log.handlers):
        log.addHandler(_Notes())


def printable(text: str) -> str:
    """The text on one line, with an escape for each character that a terminal cannot show or would obey."""
    return escaped(re.sub(r"\s*[\r\n]\s*", " ", text.strip()))


def escaped(text: str) -> str:
    """The text with an escape for each control character; a printed path still leads to its file."""
    return "".join(c if _is_harmless(c) else c.encode("unicode_escape").decode() for c in text)


def _is_harmless(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs" or character in JOINERS


def _letters(text: str) -> list[str]:
    """Letters and digits, each with the marks that follow it, and one ``-`` between words."""
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


def _target(option: str, output: str | None, num_files: int, allowed: Sequence[str], suffix: str | None) -> Target:
    """The target that an option gives; ``allowed`` are the formats, the default one first."""
    given = f"{option} {output!r:.300}"
    if output == STDOUT:
        raise InvalidRequest(f"{given}: standard output takes one audio file of generate or regenerate; name a file")
    path = Path("." if output is None else os.path.expanduser(output))
    named = path.suffix.lower().lstrip(".")
    if output is None or output.endswith(("/", os.sep)) or os.path.isdir(path):
        is_folder = True
    elif num_files > 1 and named in allowed:
        folder = f"{path.with_suffix('')}/"
        raise InvalidRequest(f"{given}: one file for {num_files} results; give a folder: {folder!r}")
    else:
        is_folder = num_files > 1
    if is_folder:
        _check_folder(option, path, may_be_new=True)
    else:
        suffix = _agreed_suffix(given, str(output), named, suffix, allowed)
        _check_folder(option, _place(given, path).parent, may_be_new=False)
    return Target(path, is_folder, suffix or allowed[0])


def _agreed_suffix(given: str, output: str, named: str, asked: str | None, allowed: Sequence[str]) -> str:
    """The format of a single file, by its name, by ``--format``, or by both."""
    if named in allowed and asked not in (None, named):
        raise InvalidRequest(f"{given} and --format {asked} contradict each other; leave one of them out")
    if named not in allowed and asked is None:
        if named.strip() in allowed:
            raise InvalidRequest(f"{given} ends in white space; remove it")
        if Path(output).name.lower().lstrip(".") in allowed:
            raise InvalidRequest(f"{given} is a suffix without a name; for example {'music' + output!r}")
        endings = ", ".join(f".{name}" for name in allowed)
        or_format = ", or add --format" if len(allowed) > 1 else ""
        raise InvalidRequest(f"{given}: end the file in {endings}{or_format}; or end a folder in /")
    return asked or named


def _place(given: str, path: Path) -> Path:
    """The path of a file with its links followed.

    Raises:
        InvalidRequest: the path cannot be that of a file.
        PermissionError: the file is write-protected.
    """
    try:
        return place_of(path)
    except PermissionError:
        raise
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"{given}: {getattr(error, 'strerror', None) or error}") from error


def _check_folder(option: str, folder: Path, may_be_new: bool) -> None:
    """Raises now if writing there would fail later, as far as that can be known."""
    nearest = folder
    while not _exists(option, nearest) and nearest != nearest.parent:
        nearest = nearest.parent
    if nearest != folder and not may_be_new:
        raise InvalidRequest(f"{option}: there is no folder {str(folder)!r:.300}; make it first")
    if not nearest.is_dir():
        raise InvalidRequest(f"{option}: {str(nearest)!r:.300} is not a folder; choose another place")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "no permission to write there", str(nearest))


def _exists(option: str, path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        raise
    except (OSError, ValueError) as error:  # a name that no folder can have
        raise InvalidRequest(f"{option} {str(path)!r:.300}: {getattr(error, 'strerror', None) or error}") from error
    return True
