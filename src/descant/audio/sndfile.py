"""libsndfile, by way of soundfile: the only place that knows it."""

import io
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import soundfile
from jaxtyping import Float32

from descant.audio.source import NoSound
from descant.errors import InvalidRequest

# Values (frames times channels) handed to libsndfile at a time. A header may promise any number of frames, so memory is
# taken as they come; and its Vorbis encoder overflows the C stack when it is given minutes in a single call.
BLOCK_VALUES = 1 << 18

ENCODINGS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
}
"""The formats that libsndfile writes: container and encoding in soundfile's words."""

VORBIS_ORDER = {3: (0, 2, 1), 5: (0, 2, 1, 3, 4), 6: (0, 2, 1, 4, 5, 3), 7: (0, 2, 1, 5, 6, 4, 3)}
VORBIS_ORDER |= {8: (0, 2, 1, 6, 7, 4, 5, 3)}
"""Vorbis has its own order of channels: by its place, where each stands in WAV, FLAC and everywhere else here."""

_ERRORS = (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError)


class _Sequential(soundfile.SoundFile):
    """A file that is read from its beginning to its end.

    In one that seeks, soundfile seeks after every block; where seeking is not exact, that is a click.
    """

    def seekable(self) -> bool:
        return False


class Reading:
    """An audio file, opened by libsndfile; to be used as a context.

    Args:
        file: gives bytes and can be moved about in.
        is_sequential: it will be read in order, as formats must be that do not seek exactly.

    Raises:
        NoSound: it is nothing that libsndfile reads, or damaged where it is read.
    """

    def __init__(self, file: Any, is_sequential: bool = False) -> None:
        # Kept, for a file that nobody holds is closed, and its descriptor with it.
        self._source, self._is_sequential = file, is_sequential
        try:
            # By descriptor where there is one: much faster, and the bytes decide on the format and not the name.
            source = file.fileno()
            os.lseek(source, 0, os.SEEK_SET)
        except (OSError, AttributeError):
            source = file
            file.seek(0)
        try:
            self._file = (_Sequential if is_sequential else soundfile.SoundFile)(source, closefd=False)
        except _ERRORS as error:
            raise NoSound(reason(error)) from error

        self._order: slice | list[int] = slice(None)
        if self._file.subtype == "VORBIS" and self.num_channels in VORBIS_ORDER:
            self._order = np.argsort(VORBIS_ORDER[self.num_channels]).tolist()

    def __enter__(self) -> "Reading":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    @property
    def num_samples(self) -> int:
        """What the header promises, or what the file has room for."""
        return self._file.frames

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second."""
        return self._file.samplerate

    @property
    def num_channels(self) -> int:
        """Channels."""
        return self._file.channels

    def blocks(self, start: int = 0, count: int | None = None) -> Iterator[Float32[np.ndarray, "N C"]]:
        """The samples from ``start`` on, at most ``count``, as they come; in order only, if it is sequential."""
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
            raise NoSound(reason(error)) from error


def encode(values: np.ndarray, sample_rate_hz: int, format: str) -> bytes:
    """The bytes of an audio file in one of ``ENCODINGS``, from [samples, channels].

    Raises:
        InvalidRequest: the format has no place for this rate or so many channels.
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


def reason(error: Exception) -> str:
    """What a library's error says, on one line."""
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return " ".join(text.split()).rstrip(".")
