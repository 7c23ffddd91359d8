"""How an audio file is decoded, and the faults that are known before decoding.

This is decided once, from the content alone; length, whole and excerpts of a file all follow from it.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class ByteFile(Protocol):
    """An open file whose bytes can be read anywhere."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; all remaining ones if ``size`` is negative."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Moves to a position."""

    def tell(self) -> int:
        """The current position."""

    def fileno(self) -> int:
        """The file descriptor, if the file has one."""


class UnreadableAudio(Exception):
    """Why a file, or the rest of it, cannot be read as audio; the caller adds the file's name."""


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
        seeks: the decoder can seek to any sample and gives the same samples as in one pass.
        parts: parts that are decoded one after the other, each a list of (first byte, end); empty for the whole file.
        num_frames: the number of frames of each part, for formats that consist of frames.
        losses: what is missing, as the container shows.
        notes: bytes that are not audio and are skipped; nothing is missing.
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
    """Some bytes of a file as a file of its own, for libraries that read from the beginning."""

    def __init__(self, file: ByteFile, spans: Spans) -> None:
        self._file, self._spans, self._at = file, spans, 0
        self._size = sum(end - start for start, end in spans)

    def read(self, size: int = -1) -> bytes:
        """The next bytes, at most ``size``; all remaining ones if it is negative."""
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
        """Fills a buffer with the next bytes; returns how many there were."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Moves to a byte of the part; as files do, beyond its end too."""
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        """The position of the next read."""
        return self._at


def size_of(file: ByteFile) -> int:
    """The size of an open file in bytes."""
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(place)
    return size
