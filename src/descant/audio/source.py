"""What is known of an audio file before it is decoded: by which library, and what is wrong with it already.

The decision is made once, from the content alone, and length, whole and pieces of a file all follow from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO


class NoSound(Exception):
    """Why a file, or the rest of it, is no sound that can be read; without its name, which whoever opened it adds."""


LIBSNDFILE = "libsndfile"
FFMPEG = "FFmpeg"


@dataclass(frozen=True, kw_only=True)
class Source:
    """How a file is read.

    Args:
        name: the format, for messages.
        library: ``LIBSNDFILE`` or ``FFMPEG``.
        demuxer: FFmpeg's name of the container.
        seeks: any sample can be reached at once, and is then the same as after decoding all before it.
        spans: the parts of the file that are decoded one after the other, as (first byte, end); all of it if empty.
        losses: what the container shows to be missing.
        notes: bytes that are no sound and are passed over; nothing is missing.
    """

    name: str
    library: str = FFMPEG
    demuxer: str = ""
    seeks: bool = False
    spans: tuple[tuple[int, int], ...] = ()
    losses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Span:
    """A part of a file as a file of its own, for libraries that read from a file's beginning."""

    def __init__(self, file: BinaryIO, start: int, end: int) -> None:
        self._file, self._start, self._size, self._at = file, start, end - start, 0

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most ``size``; all that are left if it is negative."""
        left = max(0, self._size - self._at)
        self._file.seek(self._start + self._at)
        content = self._file.read(left if size < 0 else min(size, left))
        self._at += len(content)
        return content

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to a byte of the part; as files do, beyond its end too."""
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer with the next bytes, as far as there are any."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at


@contextmanager
def kept_place(file: BinaryIO) -> Iterator[BinaryIO]:
    """The file at its beginning; afterwards it stands where it stood."""
    place = file.tell()
    file.seek(0)
    try:
        yield file
    finally:
        file.seek(place)


def size_of(file: BinaryIO) -> int:
    """Bytes of an open file."""
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(place)
    return size
