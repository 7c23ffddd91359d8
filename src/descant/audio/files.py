"""Reading audio files, whichever library decodes them.

Only regular files are opened by name: reading a FIFO or a device might never end. Every fault of a file is an
``AudioError`` of one line. Nothing is lost silently: a file that cannot be read completely is refused, with a message
that says what is lost and how much can be read, or salvaged on request.
"""

import hashlib
import io
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from descant.atomic import AnyPath, write_all
from descant.audio import sndfile
from descant.audio.decoded import FileCache
from descant.audio.numbers import checked_number
from descant.audio.opened import MAX_RATE_HZ, MIN_RATE_HZ, Audio, AudioHeader, Opened
from descant.audio.readers import DecodedAudio, SeekableAudio
from descant.audio.sniff import sniff
from descant.audio.source import FFMPEG, ByteFile, Source, UnreadableAudio
from descant.errors import AudioError, InvalidRequest


@runtime_checkable
class Readable(Protocol):
    """A file that is open for reading bytes."""

    def read(self, size: int = -1, /) -> Any:
        """The next bytes; all remaining ones if ``size`` is negative."""


@runtime_checkable
class Writable(Protocol):
    """A file that is open for writing bytes."""

    def write(self, content: bytes, /) -> Any:
        """Writes bytes at the current position."""


AnyFile = AnyPath | Readable

MIN_USABLE_S = 1 / MIN_RATE_HZ
"""A shorter file is useless for training: at the lowest allowed rate it is less than one sample."""

_sources: FileCache[Source] = FileCache()

__all__ = ["MAX_RATE_HZ", "MIN_RATE_HZ", "AudioHeader"]


def audio_header(path: AnyFile, *, salvage: bool = False) -> AudioHeader:
    """Length, rate and channels of an audio file: of PCM and FLAC from the header, of any other by decoding it.

    Args:
        salvage: the length of a damaged file is the length of its readable part.

    Raises:
        AudioError: as ``read``, except for faults that only decoding a PCM or FLAC file shows.
    """
    with _opened(path, salvage) as audio:
        return audio.header()


def check_usable(path: AnyFile, header: AudioHeader) -> None:
    """Refuses a file that is too short for training.

    Raises:
        AudioError: it is shorter than a millisecond.
    """
    if header.duration_s < MIN_USABLE_S:
        raise AudioError(
            f"{quoted(path)} is too short: {header.num_samples} samples at {header.sample_rate_hz} Hz are "
            f"{1_000 * header.duration_s:.2g} ms, and at least 1 ms is needed"
        )


def read(
    path: AnyFile,
    max_duration_s: float | None = None,
    *,
    offset_s: float = 0.0,
    duration_s: float | None = None,
    salvage: bool = False,
) -> tuple[Float[Tensor, "C N"], int]:
    """The samples of an audio file as float32 (integers scaled to [-1, 1]), and its rate in hertz.

    Args:
        offset_s: where to start. Earlier samples are skipped; PCM and FLAC files are decoded from there only.
        duration_s: how much to read, at most; the rest of the file is not checked.
        salvage: reads as much as possible of a damaged file, and logs what is lost.

    Raises:
        AudioError: it is not a regular file, not audio, empty, damaged or longer than ``max_duration_s``; its rate is
            not allowed; or it has samples that are not finite.
        InvalidRequest: times that are invalid or lie beyond the end of the file.
    """
    offset_s = checked_number(offset_s, "offset_s", "a number of seconds, 0 or more")
    if duration_s is not None:
        duration_s = checked_number(duration_s, "duration_s", "a number of seconds above 0, or None")
    if max_duration_s is not None:
        max_duration_s = checked_number(max_duration_s, "max_duration_s", "a number of seconds, or None")
    if offset_s < 0 or (duration_s is not None and duration_s <= 0):
        raise InvalidRequest(
            f"offset_s={offset_s}, duration_s={duration_s}: allowed are an offset of 0 or more and a duration above 0"
        )
    with _opened(path, salvage) as audio:
        known_s = audio.known_duration_s
        if max_duration_s is not None and known_s is not None and known_s > max_duration_s:
            raise AudioError(f"{quoted(path)} is {known_s:.1f} s long; at most {max_duration_s:g} s are allowed here")
        blocks: deque[np.ndarray] = deque()
        num_samples = 0
        for block in audio.between(offset_s, duration_s):
            blocks.append(block)
            num_samples += len(block)
            if max_duration_s is not None and num_samples > max_duration_s * audio.sample_rate_hz:
                raise AudioError(f"{quoted(path)} is more than {max_duration_s:g} s long; at most that is allowed here")
        if not blocks:
            raise InvalidRequest(f"offset_s={offset_s:g} of {quoted(path)}: it has {audio.header().duration_s:g} s")
        return _tensor(blocks, path), audio.sample_rate_hz


def read_samples(
    path: AnyFile, offset_samples: int, num_samples: int, *, salvage: bool = False
) -> Float[Tensor, "C N"]:
    """An excerpt of an audio file, bit-equal to that slice of the whole.

    Of a PCM or FLAC file only the excerpt is decoded. Any other file is decoded from the beginning, once, and kept in
    a temporary file for the next excerpts.

    Raises:
        AudioError: as ``read``.
        InvalidRequest: the excerpt is empty or reaches beyond the file.
    """
    with _opened(path, salvage) as audio:
        audio.prepare_excerpts()
        header = audio.header()
        if offset_samples < 0 or num_samples < 1 or offset_samples + num_samples > header.num_samples:
            raise InvalidRequest(
                f"samples {offset_samples} to {offset_samples + num_samples} of {quoted(path)}: "
                f"it has {header.num_samples}"
            )
        return _tensor(deque([audio.excerpt(offset_samples, num_samples)]), path)


def read_in_blocks(path: AnyFile, *, salvage: bool = False) -> Iterator[tuple[Float[Tensor, "C N"], int]]:
    """The samples of an audio file in order, in blocks of at most a few seconds, each with the rate in hertz.

    Raises:
        AudioError: as ``read``; after the last block where only the end shows what is lost.
    """
    with _opened(path, salvage) as audio:
        for block in audio.blocks():
            yield _tensor(deque([block]), path), audio.sample_rate_hz


def write_flac(path: Path, blocks: Iterable[Float[Tensor, "C N"]], sample_rate_hz: int) -> None:
    """Writes a FLAC file of 24 bits block by block, so that memory does not grow with its length; it is not atomic.

    Samples beyond -1 and 1 are clipped.

    Raises:
        AudioError: it cannot be written, or FLAC has no such rate or number of channels.
    """
    sndfile.write_flac(path, (block.clamp(-1, 1).T.numpy() for block in blocks), sample_rate_hz)


def write_into(file: Writable, content: bytes) -> None:
    """Writes to a file that is open for writing bytes, at its current position.

    Raises:
        AudioError: it cannot be written.
        InvalidRequest: it is open for text.
    """
    try:
        write_all(file, content)
    except TypeError as error:
        raise InvalidRequest(f"{quoted(file)} does not accept bytes: open audio files with 'wb'") from error
    except (OSError, ValueError, AttributeError) as error:
        raise AudioError(f"cannot write {quoted(file)}: {sndfile.reason(error)}") from error


@contextmanager
def open_regular(path: AnyFile) -> Iterator[ByteFile]:
    """Opens a regular, non-empty file (or a link to one) for reading.

    A file that is open already is read from its current position to its end.

    Raises:
        AudioError: it is missing, forbidden, empty, a folder, a FIFO or a device.
        InvalidRequest: it is an open file that does not give bytes.
    """
    if not isinstance(path, str | bytes | os.PathLike):
        yield io.BytesIO(_content(path))
        return
    # Without O_NONBLOCK opening a FIFO that has no writer would block for ever.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(as_path(path), flags)
    except (OSError, ValueError) as error:
        raise AudioError(f"cannot open {quoted(path)}: {sndfile.reason(error)}") from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "a FIFO, a socket or a device"
            raise AudioError(f"{quoted(path)} is {kind}, not an audio file")
        if found.st_size == 0:
            raise AudioError(f"{quoted(path)} is empty (0 bytes)")
    except BaseException:
        os.close(descriptor)
        raise
    # Unbuffered, since libsndfile reads through the descriptor and moves its position.
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield file  # type: ignore[misc]


def as_path(path: AnyPath) -> Path:
    """A path with ``~`` as the user's folder. ``~`` stays where there is no such user."""
    return Path(os.path.expanduser(os.fsdecode(path)))


def quoted(path: AnyFile | Writable) -> str:
    """A path for a message, always on one line; for an open file its name, if it has one."""
    if isinstance(path, str | bytes | os.PathLike):
        return repr(os.fsdecode(path))
    name = getattr(path, "name", None)
    return repr(name) if isinstance(name, str) else f"the {type(path).__name__}"


def _content(file: Readable) -> bytes:
    try:
        content = file.read()
    except (OSError, ValueError, AttributeError) as error:
        raise AudioError(f"cannot read {quoted(file)}: {sndfile.reason(error)}") from error
    if not isinstance(content, bytes):
        raise InvalidRequest(f"{quoted(file)} gives {type(content).__name__}: open audio files with 'rb'")
    if not content:
        raise AudioError(f"{quoted(file)} is empty (0 bytes), or has been read to its end")
    return content


@contextmanager
def _opened(path: AnyFile, salvage: bool) -> Iterator[Audio]:
    """Opens a file and decides how it is read."""
    with open_regular(path) as file:
        name, key = quoted(path), _identity(file)
        try:
            # Cached, since walking along the frames of a long MP3 takes longer than reading an excerpt.
            source = _sources.get(key) or sniff(file)
        except UnreadableAudio as error:
            raise AudioError(f"{name} {error}") from error
        # A disk that fails, or a size in the file that leads to an impossible position.
        except (OSError, OverflowError) as error:
            raise AudioError(f"{name} cannot be read or is damaged: {sndfile.reason(error)}") from error
        _sources.put(key, source)
        if salvage and source.name == "FLAC":
            # libsndfile stops at the first damage, FFmpeg continues after it.
            source = replace(source, decoder=FFMPEG, seeks=False)
        opened = Opened(file=file, name=name, key=key, source=source, salvage=salvage)
        if not source.seeks:
            yield DecodedAudio(opened)
            return
        try:
            reading = sndfile.Reading(file)
        except UnreadableAudio as error:
            raise AudioError(f"{name} is damaged: it begins as {source.name} does ({error})") from error
        with reading:
            yield SeekableAudio(opened, reading)


def _identity(file: ByteFile) -> object:
    """A key that changes with a file's content."""
    file.seek(0)
    try:
        found = os.fstat(file.fileno())
    except (OSError, ValueError):
        return hashlib.sha256(file.read()).hexdigest()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _tensor(blocks: deque[np.ndarray], path: AnyFile) -> Float[Tensor, "C N"]:
    samples = torch.empty(blocks[0].shape[1], sum(map(len, blocks)))
    position = 0
    # Blocks are freed one by one, so that the samples are in memory once and not twice.
    while blocks:
        block = blocks.popleft()
        if not np.isfinite(block).all():
            raise AudioError(f"{quoted(path)} holds samples that are NaN or infinite")
        samples[:, position : position + len(block)] = torch.from_numpy(np.array(block.T))
        position += len(block)
    return samples
