"""Standard input, output and error made safe to use: the shell may have closed them, or they cannot hold Unicode."""

import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import BinaryIO, TextIO, TypeAlias

from descant.errors import InvalidRequest

TextStream: TypeAlias = TextIO | io.TextIOBase


class LenientStderr(io.TextIOBase):
    """Standard error that drops what it cannot deliver: messages about the work must not end the work."""

    def __init__(self, stream: TextStream | None) -> None:
        self._stream = stream
        self._encoding = "utf-8" if stream is None else stream.encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding, by which ``rich`` chooses its characters."""
        return self._encoding or "utf-8"

    def write(self, text: str) -> int:
        """Writes, or discards the stream if that fails."""
        try:
            if self._stream is not None:
                self._stream.write(text)
        except OSError:
            discard(self._stream)
        return len(text)

    def flush(self) -> None:
        """Flushes, or discards the stream if that fails."""
        try:
            if self._stream is not None:
                self._stream.flush()
        except OSError:
            discard(self._stream)

    def isatty(self) -> bool:
        """Whether a person may be watching."""
        return self._stream is not None and self._stream.isatty()


@contextmanager
def prepared_streams() -> Iterator[None]:
    """Makes the standard streams safe to use within the block.

    Descriptors that the shell closed (``2>&-``) are opened on the null device, or the next file to be opened would get
    their numbers, and with them everything that is printed. Characters that standard output cannot hold are escaped.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with redirect_stderr(LenientStderr(sys.stderr)):
        yield


def binary_stdout(option: str) -> BinaryIO:
    """Standard output for audio, after a check that audio can go there.

    Raises:
        InvalidRequest: it is a terminal.
        OSError: it is closed.
    """
    if sys.stdout is None:
        raise OSError(errno.EBADF, f"{option}: standard output is closed; send it to a file or into a player")
    if sys.stdout.isatty():
        raise InvalidRequest(
            f"{option}: standard output is a terminal, which cannot play audio; "
            "send it into a player (| ffplay -i -) or to a file (> music.wav)"
        )
    return sys.stdout.buffer


def reader_has_gone() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    poll = getattr(select, "poll", None)  # Windows has none, and reports such pipes in another way
    if poll is None or sys.stdout is None:
        return False
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return False
    poller = poll()
    poller.register(descriptor, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poller.poll(0))


def discard(stream: TextStream | None) -> None:
    """Drops what a stream still holds and cannot deliver: Python would try again at exit, and print an error."""
    if stream is not None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
