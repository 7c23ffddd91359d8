"""Samples in and out of audio files: the only place that knows soundfile.

Only regular files are opened, for reading a FIFO or a device would never end. Everything a file can be wrong in is an
``AudioError`` of one line; what the header says is believed only as far as the samples bear it out.
"""

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from descant.errors import AudioError, InvalidRequest

AnyPath = str | os.PathLike[str]

MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 768_000

FORMATS = {
    "wav": ("WAV", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
}
"""The formats that are written, by suffix: container and encoding in soundfile's words."""

MP3_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
MAX_CHANNELS = {"wav": 32, "flac": 8, "ogg": 32, "mp3": 2}

# Values (frames times channels) handed to libsndfile at a time. A header may promise any number of frames, so memory is
# taken as they come; and its Vorbis encoder overflows the C stack when it is given minutes in a single call.
BLOCK_VALUES = 1 << 18


class AudioFacts(NamedTuple):
    """What a file's header says of its sound."""

    num_samples: int
    sample_rate_hz: int
    num_channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate_hz


def audio_facts(path: AnyPath) -> AudioFacts:
    """Length, rate and channels of an audio file, from its header wherever that tells the length.

    Raises:
        AudioError: as ``read`` does, except for what only the samples show.
    """
    with _opened(path) as file:
        facts = _facts(file)
        return facts._replace(num_samples=_counted(file, path)) if file.format == "MP3" else facts


def read(path: AnyPath, max_duration_s: float | None = None) -> tuple[Float[Tensor, "C N"], int]:
    """All samples of an audio file as float32 (integers scaled to [-1, 1]), and its rate in hertz.

    Raises:
        AudioError: no regular file, no audio, empty, cut short, longer than ``max_duration_s``, an absurd rate, or
            samples that are not finite.
    """
    with _opened(path) as file:
        facts = _facts(file)
        if max_duration_s is not None and facts.duration_s > max_duration_s:
            raise AudioError(
                f"{quoted(path)} is {facts.duration_s:.1f} s long; at most {max_duration_s:g} s are allowed here"
            )
        samples = _read(file, facts.num_samples, path)
        if file.format == "MP3":
            _check_read_to_its_end(file, path)
        elif samples.shape[1] < facts.num_samples:
            raise AudioError(_cut_short(path, facts.num_samples, samples.shape[1]))
        return samples, facts.sample_rate_hz


def read_samples(path: AnyPath, offset_samples: int, num_samples: int) -> Float[Tensor, "C N"]:
    """A piece of an audio file, the same values as that slice of the whole; only the piece is decoded.

    Raises:
        AudioError: as ``read`` does.
        InvalidRequest: the piece is empty or reaches beyond the file.
    """
    with _opened(path) as file:
        facts = _facts(file)
        if offset_samples < 0 or num_samples < 1 or offset_samples + num_samples > facts.num_samples:
            raise InvalidRequest(
                f"samples {offset_samples} to {offset_samples + num_samples} of {quoted(path)}: "
                f"it has {facts.num_samples}"
            )
        try:
            file.seek(offset_samples)
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise AudioError(f"{quoted(path)} is damaged: {_reason(error)}") from error
        samples = _read(file, num_samples, path)
        if samples.shape[1] < num_samples:
            raise AudioError(_cut_short(path, facts.num_samples, offset_samples + samples.shape[1]))
        return samples


def encode(samples: Float[Tensor, "C N"], sample_rate_hz: int, format: str) -> bytes:
    """The bytes of an audio file in one of ``FORMATS``.

    wav and flac hold 16-bit integers: the nearest to ``32768 x``. The samples must lie in [-1, 1].

    Raises:
        InvalidRequest: an unknown format, or a rate or number of channels that it has no place for.
    """
    if format not in FORMATS:
        raise InvalidRequest(f"format {format!r:.40}: allowed are {', '.join(FORMATS)}")
    num_channels = len(samples)
    if num_channels > MAX_CHANNELS[format]:
        raise InvalidRequest(f"{num_channels} channels: {format} holds at most {MAX_CHANNELS[format]}")
    if format == "mp3" and sample_rate_hz not in MP3_RATES_HZ:
        raise InvalidRequest(
            f"mp3 has no rate of {sample_rate_hz} Hz: allowed are {', '.join(map(str, MP3_RATES_HZ))}; "
            f"resample the clip first or write another format"
        )
    container, subtype = FORMATS[format]
    interleaved = rearrange(samples.detach().cpu(), "C N -> N C").numpy()
    if subtype == "PCM_16":
        # Rounded here, because libsndfile multiplies by 32767 and reads by 32768: written and read would not be equal.
        interleaved = np.clip(np.rint(interleaved * 32768.0), -32768, 32767).astype(np.int16)
    block = BLOCK_VALUES // num_channels
    target = io.BytesIO()
    try:
        with soundfile.SoundFile(target, "w", sample_rate_hz, num_channels, subtype, format=container) as file:
            for start in range(0, len(interleaved), block):
                file.write(interleaved[start : start + block])
    except soundfile.LibsndfileError as error:
        raise InvalidRequest(f"{format} cannot hold {num_channels} channels at {sample_rate_hz} Hz") from error
    return target.getvalue()


@contextmanager
def open_regular(path: AnyPath) -> Iterator[BinaryIO]:
    """A file for reading, if it is a regular one with something in it (or a link to one).

    Raises:
        AudioError: it is missing, forbidden, empty, a folder, a FIFO or a device.
    """
    # Without O_NONBLOCK the open itself would wait for ever on a FIFO that nobody writes to.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        raise AudioError(f"cannot open {quoted(path)}: {_reason(error)}") from error
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
    with os.fdopen(descriptor, "rb") as file:
        yield file


def quoted(path: AnyPath) -> str:
    """A path for a message: on one line, whatever is in it."""
    return repr(os.fspath(path))


@contextmanager
def _opened(path: AnyPath) -> Iterator[soundfile.SoundFile]:
    with open_regular(path) as handle:
        try:
            # By descriptor, so that the bytes decide on the format and not the name.
            file = soundfile.SoundFile(handle.fileno(), closefd=False)
        except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError) as error:
            raise AudioError(
                f"{quoted(path)} is not audio that can be read here ({_reason(error)}). Readable are wav, flac, ogg, "
                f"opus, mp3, aiff and more of libsndfile; convert others first: ffmpeg -i INPUT output.wav"
            ) from error
        with file:
            _check_header(file, path)
            yield file


def _check_header(file: soundfile.SoundFile, path: AnyPath) -> None:
    if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ:
        raise AudioError(
            f"{quoted(path)} has a rate of {file.samplerate} Hz; allowed are {MIN_RATE_HZ} to {MAX_RATE_HZ} Hz"
        )
    if file.frames < 1:
        raise AudioError(f"{quoted(path)} holds no samples: it has a header and no sound")


def _facts(file: soundfile.SoundFile) -> AudioFacts:
    return AudioFacts(file.frames, file.samplerate, file.channels)


def _counted(file: soundfile.SoundFile, path: AnyPath) -> int:
    """The samples of an MP3. Without a Xing header its length is an estimate, some hundred samples too long."""
    try:
        file.seek(file.frames - 1)
        if len(file.read(1)):
            return file.frames
        file.seek(0)
        counts = iter(lambda: len(file.read(BLOCK_VALUES // file.channels, dtype="float32")), 0)
        return sum(counts)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{quoted(path)} is damaged: {_reason(error)}") from error


def _check_read_to_its_end(file: soundfile.SoundFile, path: AnyPath) -> None:
    """Refuses an MP3 of varying bitrate without a Xing header: libsndfile guesses its length, and may stop half way."""
    size = os.fstat(file.name).st_size
    unread = size - os.lseek(file.name, 0, os.SEEK_CUR)
    # Tags may follow the sound, and the last frames need not be read to be heard.
    if unread > max(size // 10, 1 << 14):
        raise AudioError(
            f"{quoted(path)} does not say how long it is, and {unread} of its {size} bytes would be missed; "
            f"write it anew: ffmpeg -i INPUT output.wav"
        )


def _read(file: soundfile.SoundFile, num_samples: int, path: AnyPath) -> Float[Tensor, "C N"]:
    """The next samples of a file, as many as asked for or as there are."""
    blocks: list[np.ndarray] = []
    missing = num_samples
    try:
        while missing:
            block = file.read(min(missing, BLOCK_VALUES // file.channels), dtype="float32", always_2d=True)
            if not len(block):
                break
            blocks.append(block)
            missing -= len(block)
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise AudioError(f"{quoted(path)} is damaged: {_reason(error)}") from error
    if not blocks:
        raise AudioError(_cut_short(path, file.frames, 0))
    samples = rearrange(torch.from_numpy(np.concatenate(blocks)), "N C -> C N").contiguous()
    if not torch.isfinite(samples).all():
        raise AudioError(f"{quoted(path)} holds samples that are NaN or infinite")
    return samples


def _cut_short(path: AnyPath, promised: int, found: int) -> str:
    return f"{quoted(path)} is cut short: its header promises {promised} samples, {found} are there"


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or getattr(error, "error_string", None) or str(error)
    return " ".join(text.split()).rstrip(".")
