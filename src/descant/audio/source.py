"""What is known of an audio file before it is decoded: by which library, and what is wrong with it already.

The decision is made once, from the content alone, and length, whole and pieces of a file all follow from it.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class ByteFile(Protocol):
    """An open file whose bytes can be read anywhere."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; all that are left if ``size`` is negative."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Moves to a byte."""

    def tell(self) -> int:
        """Where it stands."""

    def fileno(self) -> int:
        """The system's number for it, if it is one of the system."""


class NoSound(Exception):
    """Why a file, or the rest of it, is no sound that can be read; without its name, which whoever opened it adds."""


LIBSNDFILE = "libsndfile"
FFMPEG = "FFmpeg"


Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True)
class Source:
    """How a file is read.

    Args:
        name: the format, for messages.
        decoder: ``LIBSNDFILE`` or ``FFMPEG``.
        demuxer: FFmpeg's name of the container.
        seeks: any sample can be reached at once, and is then the same as after decoding all before it.
        parts: what is decoded one after the other, each as a list of (first byte, end); the whole file if empty.
        num_frames: of formats that are nothing but frames, how many each part has.
        losses: what the container shows to be missing.
        notes: bytes that are no sound and are passed over; nothing is missing.
    """

    name: str
    decoder: str = FFMPEG
    demuxer: str = ""
    seeks: bool = False
    parts: tuple[Spans, ...] = ()
    num_frames: tuple[int, ...] = ()
    losses: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Part:
    """Some bytes of a file as a file of its own, for libraries that read from a file's beginning."""

    def __init__(self, file: ByteFile, spans: Spans) -> None:
        self._file, self._spans, self._at = file, spans, 0
        self._size = sum(end - start for start, end in spans)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most ``size``; all that are left if it is negative."""
        missing = self._size - self._at if size < 0 else min(size, self._size - self._at)
        found, before = [], 0
        for start, end in self._spans:
            inside = self._at - before
            before += end - start
            if missing <= 0:
                break
            if inside < end - start:
                self._file.seek(start + inside)
                found.append(self._file.read(min(missing, end - start - inside)))
                self._at += len(found[-1])
                missing -= len(found[-1])
        return b"".join(found)

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer with the next bytes, as far as there are any."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to a byte of the part; as files do, beyond its end too."""
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at


def size_of(file: ByteFile) -> int:
    """Bytes of an open file."""
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(place)
    return size
