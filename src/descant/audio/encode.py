"""Writing audio files: seven formats, and the rates and channels that each supports."""

import numpy as np
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from descant.audio import ffmpeg, sndfile
from descant.audio.transforms import resample
from descant.errors import InvalidRequest

FORMATS = {
    "wav": "16 bits",
    "flac": "16 bits",
    "ogg": "Vorbis",
    "mp3": "MP3",
    "opus": "Opus",
    "aiff": "16 bits",
    "m4a": "AAC",
}
"""The formats that are written, by suffix, with the encoding of their samples."""

_MPEG_RATES_HZ = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
RATES_HZ = {
    "mp3": _MPEG_RATES_HZ,
    "m4a": (*_MPEG_RATES_HZ, 64_000, 88_200, 96_000),
    "opus": (8_000, 12_000, 16_000, 24_000, 48_000),
}
"""The rates of formats that support only some; the others are limited by ``MAX_RATE_HZ``."""

MAX_RATE_HZ = {"flac": 655_350, "ogg": 200_000}

OPUS_RATE_HZ = 48_000
MAX_CHANNELS = {"wav": 32, "flac": 8, "ogg": 8, "mp3": 2, "opus": 2, "aiff": 32, "m4a": 2}


def checked_format(format: str) -> str:
    """The name of a format as in ``FORMATS``; ``.WAV`` is ``wav``.

    Raises:
        InvalidRequest: there is no such format.
    """
    name = str(format).lower().removeprefix(".")
    if name not in FORMATS:
        raise InvalidRequest(f"format {name!r:.40}: allowed are {', '.join(FORMATS)}")
    return name


def encode(samples: Float[Tensor, "C N"], sample_rate_hz: int, format: str) -> bytes:
    """The bytes of an audio file in one of ``FORMATS``.

    wav, flac and aiff hold 16-bit integers: the nearest to ``32768 x``. Opus has five rates and works at 48 kHz;
    samples at any other rate are resampled to that. The samples must lie in [-1, 1].

    Raises:
        InvalidRequest: an unknown format, or a rate or number of channels that it does not support.
    """
    format = checked_format(format)
    num_channels = len(samples)
    if num_channels > MAX_CHANNELS[format]:
        raise InvalidRequest(f"{num_channels} channels: {format} holds at most {MAX_CHANNELS[format]}")
    if format == "opus" and sample_rate_hz not in RATES_HZ["opus"]:
        samples, sample_rate_hz = resample(samples, sample_rate_hz, OPUS_RATE_HZ).clamp(-1, 1), OPUS_RATE_HZ
    if sample_rate_hz not in RATES_HZ.get(format, (sample_rate_hz,)):
        raise InvalidRequest(
            f"{format} has no rate of {sample_rate_hz} Hz: allowed are {', '.join(map(str, RATES_HZ[format]))}; "
            f"resample the clip first or write another format"
        )
    if sample_rate_hz > MAX_RATE_HZ.get(format, sample_rate_hz):
        raise InvalidRequest(
            f"{format} has no rate of {sample_rate_hz} Hz: at most {MAX_RATE_HZ[format]} Hz; "
            f"resample the clip first or write another format"
        )
    if format in ffmpeg.ENCODERS:
        return ffmpeg.encode(samples, sample_rate_hz, format)
    values = rearrange(samples.detach().cpu(), "C N -> N C").contiguous().numpy()
    if sndfile.ENCODINGS[format][1] == "PCM_16":
        # Rounded here: libsndfile multiplies by 32767 but divides by 32768, so a file would not be read as written.
        values = np.clip(np.rint(values * 32768.0), -32768, 32767).astype(np.int16)
    return sndfile.encode(values, sample_rate_hz, format)
