"""libsndfile, through soundfile; the only file of the package that imports it."""

import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float32

from descant.audio.source import UnreadableAudio
from descant.errors import AudioError, InvalidRequest

# Values (frames times channels) per call of libsndfile. A header may promise any number of frames, so memory is
# allocated block by block; and its Vorbis encoder overflows the C stack when given minutes in a single call.
BLOCK_VALUES = 1 << 18

ENCODINGS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
}
"""The formats that libsndfile writes: soundfile's names of container and encoding."""

VORBIS_ORDER = {3: (0, 2, 1), 5: (0, 2, 1, 3, 4), 6: (0, 2, 1, 4, 5, 3), 7: (0, 2, 1, 5, 6, 4, 3)}
VORBIS_ORDER |= {8: (0, 2, 1, 6, 7, 4, 5, 3)}
"""Vorbis has its own channel order: for each of its channels, the index in WAV, FLAC and everywhere else here."""

_ERRORS = (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError)


class _Sequential(soundfile.SoundFile):
    """A file that is read from its beginning to its end.

    soundfile seeks after every block of a seekable file; where seeking is not exact, that is a click.
    """

    def seekable(self) -> bool:
        return False


class Reading:
    """An audio file, opened by libsndfile; a context manager.

    Args:
        file: a seekable binary file.
        is_sequential: the file is read in order, as formats without exact seeking must be.

    Raises:
        UnreadableAudio: libsndfile cannot read it, or it is damaged.
    """

    def __init__(self, file: Any, is_sequential: bool = False) -> None:
        # A reference is kept: otherwise the file would be closed, and its descriptor with it.
        self._source, self._is_sequential = file, is_sequential
        try:
            # By descriptor if there is one: much faster, and the format is detected from the bytes, not the name.
            source = file.fileno()
            os.lseek(source, 0, os.SEEK_SET)
        except (OSError, AttributeError):
            source = file
            file.seek(0)
        try:
            self._file = (_Sequential if is_sequential else soundfile.SoundFile)(source, closefd=False)
        except _ERRORS as error:
            raise UnreadableAudio(reason(error)) from error

        self._order: slice | list[int] = slice(None)
        if self._file.subtype == "VORBIS" and self.num_channels in VORBIS_ORDER:
            self._order = np.argsort(VORBIS_ORDER[self.num_channels]).tolist()

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def num_samples(self) -> int:
        """Samples per channel, by the header or the size of the file."""
        return self._file.frames

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second."""
        return self._file.samplerate

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        return self._file.channels

    def blocks(self, start: int = 0, count: int | None = None) -> Iterator[Float32[np.ndarray, "N C"]]:
        """The samples from ``start`` on, at most ``count``, in blocks; a sequential file ignores ``start``."""
        missing = self.num_samples - start if count is None else count
        try:
            if not self._is_sequential:
                self._file.seek(start)
            while missing > 0:
                size = min(missing, max(1, BLOCK_VALUES // self.num_channels))
                block = self._file.read(size, dtype="float32", always_2d=True)
                if not len(block):
                    return
                yield block[:, self._order]
                missing -= len(block)
        except _ERRORS as error:
            raise UnreadableAudio(reason(error)) from error


def encode(values: np.ndarray, sample_rate_hz: int, format: str) -> bytes:
    """The bytes of an audio file in one of ``ENCODINGS``, from [samples, channels].

    Raises:
        InvalidRequest: the format does not support this rate or number of channels.
    """
    container, subtype = ENCODINGS[format]
    num_channels = values.shape[1]
    if subtype == "VORBIS" and num_channels in VORBIS_ORDER:
        values = np.ascontiguousarray(values[:, VORBIS_ORDER[num_channels]])
    target = io.BytesIO()
    block = BLOCK_VALUES // num_channels
    try:
        with soundfile.SoundFile(target, "w", sample_rate_hz, num_channels, subtype, format=container) as file:
            for start in range(0, len(values), block):
                file.write(values[start : start + block])
    except soundfile.LibsndfileError as error:
        raise InvalidRequest(f"{format} cannot hold {num_channels} channels at {sample_rate_hz} Hz") from error
    return target.getvalue()


def write_flac(path: Path, blocks: Iterable[Float32[np.ndarray, "N C"]], sample_rate_hz: int) -> None:
    """Writes a file of 24 bits, a block at a time.

    Raises:
        AudioError: it cannot be written, or FLAC has no such rate or number of channels.
    """
    file: soundfile.SoundFile | None = None
    try:
        for block in blocks:
            if file is None:
                file = soundfile.SoundFile(path, "w", sample_rate_hz, block.shape[1], "PCM_24", format="FLAC")
            file.write(block)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"cannot write {str(path)!r}: {reason(error)}") from error
    finally:
        if file is not None:
            file.close()


def reason(error: Exception) -> str:
    """The message of a library's error, on one line."""
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return " ".join(text.split()).rstrip(".")
