"""MP3 while the audio is made: frames as soon as their samples are there. Beside ffmpeg.py the only use of PyAV."""

from typing import Any

import numpy as np
from einops import rearrange

from descant.errors import MissingExtra

BITS_PER_S = 128_000
ENCODER = "libmp3lame"


class Mp3Stream:
    """An encoder that takes 16-bit samples in pieces of any length.

    Raises:
        MissingExtra: this FFmpeg was built without the encoder.
    """

    def __init__(self, sample_rate_hz: int, num_channels: int) -> None:
        import av

        if ENCODER not in av.codecs_available:
            raise MissingExtra(
                f"mp3 needs FFmpeg's encoder {ENCODER}, which the installed PyAV lacks: pip install -U av"
            )
        self._rate_hz, self._num_channels = sample_rate_hz, num_channels
        self._layout = "mono" if num_channels == 1 else "stereo"
        context: Any = av.CodecContext.create(ENCODER, "w")
        context.sample_rate, context.layout = sample_rate_hz, self._layout
        context.format, context.bit_rate = "s16p", BITS_PER_S
        context.open()
        self._context = context
        self._frame_bytes = 2 * num_channels * context.frame_size
        self._waiting = b""
        self._num_samples = 0

    def push(self, pcm: bytes) -> bytes:
        """What can be encoded with these samples, interleaved and little-endian."""
        self._waiting += pcm
        whole = len(self._waiting) // self._frame_bytes * self._frame_bytes
        frames, self._waiting = self._waiting[:whole], self._waiting[whole:]
        starts = range(0, whole, self._frame_bytes)
        return b"".join(self._encoded(frames[start : start + self._frame_bytes]) for start in starts)

    def finish(self) -> bytes:
        """The rest."""
        last = self._encoded(self._waiting) if self._waiting else b""
        return last + b"".join(bytes(packet) for packet in self._context.encode(None))

    def _encoded(self, pcm: bytes) -> bytes:
        import av

        samples = rearrange(np.frombuffer(pcm, dtype="<i2"), "(N C) -> C N", C=self._num_channels)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), "s16p", self._layout)
        frame.sample_rate, frame.pts = self._rate_hz, self._num_samples
        self._num_samples += samples.shape[1]
        return b"".join(bytes(packet) for packet in self._context.encode(frame))
