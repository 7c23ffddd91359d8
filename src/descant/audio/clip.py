"""The clip: samples with their rate, and where they came from."""

import logging
import math
import os
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import soxr
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from descant.audio import encode, files, tags
from descant.audio.loudness import integrated_loudness
from descant.errors import InvalidRequest

_log = logging.getLogger("descant")

PEAK_LIMIT = 0.99
"""The largest absolute sample after a gain was chosen here: lossy encoders overshoot a little."""


@dataclass(frozen=True, eq=False)
class Clip:
    """A piece of sound.

    ``samples`` are float32 and finite; [-1, 1] is full scale, and values beyond it are kept while in memory.
    ``codes`` are the codec's codes it was decoded from, if it was. ``info`` is what is needed to make it again; it must
    be JSON and is written into the tags of a saved file.
    """

    samples: Float[Tensor, "C N"]
    sample_rate_hz: int
    codes: Int[Tensor, "K T"] | None = None
    info: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or 0 in self.samples.shape:
            raise InvalidRequest(
                f"samples of shape {tuple(self.samples.shape)}: a clip needs [channels, samples], at least one of each"
            )
        if self.samples.dtype != torch.float32:
            raise InvalidRequest(f"samples are {self.samples.dtype}: a clip needs float32, with 1.0 as full scale")
        if not files.MIN_RATE_HZ <= self.sample_rate_hz <= files.MAX_RATE_HZ:
            raise InvalidRequest(
                f"sample_rate_hz={self.sample_rate_hz}: allowed are {files.MIN_RATE_HZ} to {files.MAX_RATE_HZ}"
            )
        # Not isfinite, which takes as much memory again and fifty times as long.
        if not all(math.isfinite(extreme) for extreme in torch.aminmax(self.samples)):
            raise InvalidRequest("samples hold NaN or infinite values")

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.samples.shape[1] / self.sample_rate_hz

    @classmethod
    def read(
        cls,
        path: files.AnyFile,
        *,
        max_duration_s: float | None = None,
        offset_s: float = 0.0,
        duration_s: float | None = None,
        salvage: bool = False,
    ) -> "Clip":
        """The clip in an audio file, or in a file that is open already: whatever libsndfile and FFmpeg read.

        ``info`` stays empty; ``read_info`` gives it.

        Args:
            offset_s: where in the file to begin.
            duration_s: how much to read; less where the file ends before. Without it, to the end.
            salvage: takes what can be read of a damaged file, and logs what is lost.

        Raises:
            AudioError: the file is missing, no audio, empty, damaged, or longer than ``max_duration_s``.
            InvalidRequest: ``offset_s`` lies behind the file's end.
        """
        samples, sample_rate_hz = files.read(
            path, max_duration_s, offset_s=offset_s, duration_s=duration_s, salvage=salvage
        )
        return cls(samples, sample_rate_hz)

    def save(
        self, path: files.AnyPath | files.Writable, *, format: str | None = None, loudness: float | None = None
    ) -> None:
        """Writes a wav, flac or aiff (16 bit), ogg (Vorbis), mp3, opus or m4a (AAC) file, the whole of it or nothing.

        A clip that passes full scale is turned down as a whole until its peak is 0.99; nothing is clipped. The same
        clip gives the same bytes. Opus has few rates: a clip of any other is written at 48 kHz.

        Args:
            path: where to; or a file that is open for writing bytes, which then needs ``format``.
            format: one of those seven; without it the suffix of ``path`` decides.
            loudness: in LUFS; the clip is brought there first, as ``normalize_loudness`` does.

        Raises:
            InvalidRequest: an unknown format, a rate or channels it has no place for, or an ``info`` that is not JSON.
            AudioError: the file cannot be written.
        """
        if not isinstance(path, str | bytes | os.PathLike):
            if format is None:
                raise InvalidRequest(
                    f"format=None: an open file has no suffix; give one of {', '.join(encode.FORMATS)}"
                )
            files.write_into(path, self.to_bytes(format, loudness=loudness))
            return
        format = files.as_path(path).suffix if format is None else format
        content = self.to_bytes(format, loudness=loudness)
        files.write_atomically(path, content)

    def to_bytes(self, format: str, *, loudness: float | None = None) -> bytes:
        """What ``save`` writes."""
        format = encode.checked_format(format)
        samples = self.leveled(loudness)[0].samples
        return tags.with_info(encode.encode(samples, self.sample_rate_hz, format), format, self.info)

    def leveled(self, loudness: float | None) -> "tuple[Clip, float]":
        """The clip as ``save`` levels it, and the gain that this took.

        Args:
            loudness: in LUFS; None changes nothing but what passes full scale.
        """
        clip = self if loudness is None else self.normalize_loudness(loudness)
        peak, before = (one.samples.abs().max().item() for one in (clip, self))
        if peak > 1:
            clip, peak = replace(clip, samples=clip.samples * (PEAK_LIMIT / peak)), PEAK_LIMIT
        return clip, peak / before if before else 1.0

    def resample(self, rate_hz: int) -> "Clip":
        """The same sound at another rate (soxr, high quality), round(N * rate_hz / sample_rate_hz) samples long.

        Codes do not survive: they were those of the old samples.

        Raises:
            InvalidRequest: a rate that no clip may have, or that would leave not one sample.
        """
        if rate_hz == self.sample_rate_hz:
            return self
        if not files.MIN_RATE_HZ <= rate_hz <= files.MAX_RATE_HZ:
            raise InvalidRequest(f"rate_hz={rate_hz}: allowed are {files.MIN_RATE_HZ} to {files.MAX_RATE_HZ}")
        if 2 * self.samples.shape[1] * rate_hz <= self.sample_rate_hz:
            raise InvalidRequest(
                f"a clip of {self.samples.shape[1]} samples at {self.sample_rate_hz} Hz is less than one sample at "
                f"{rate_hz} Hz: give a longer one"
            )
        interleaved = rearrange(self.samples.cpu(), "C N -> N C").numpy()
        resampled = soxr.resample(np.ascontiguousarray(interleaved), self.sample_rate_hz, rate_hz, quality="HQ")
        samples = rearrange(torch.from_numpy(resampled), "N C -> C N").contiguous()
        return replace(self, samples=samples, sample_rate_hz=rate_hz, codes=None)

    def to_channels(self, num_channels: int) -> "Clip":
        """The same sound as mono or stereo: mono is copied to both sides, anything else is averaged.

        More than two channels (5.1) become the mean of all of them, on both sides if stereo is asked for: which
        channel stands where is not known for every format. Where channels cancel, that is logged as a warning.

        Raises:
            InvalidRequest: neither one nor two channels are asked for.
        """
        if num_channels == len(self.samples):
            return self
        if num_channels not in (1, 2):
            raise InvalidRequest(f"num_channels={num_channels}: allowed are 1 and 2")
        mono = self.samples.mean(dim=0)
        if len(self.samples) > 1:
            _warn_of_cancelling(self.samples, mono)
        return replace(self, samples=repeat(mono, "N -> C N", C=num_channels).contiguous(), codes=None)

    def normalize_loudness(self, lufs: float) -> "Clip":
        """The clip with an integrated loudness of ``lufs``, by gain alone (ITU-R BS.1770-4).

        Where that gain would bring the peak past 0.99 a smaller one is used, and the clip ends below the target.
        Silence has no loudness and is left as it is.

        Raises:
            InvalidRequest: a target that is not between -70 and 0 LUFS.
        """
        if not -70 <= lufs <= 0:
            raise InvalidRequest(f"loudness={lufs:g} LUFS: allowed are -70 to 0; streaming services play at -14")
        now = integrated_loudness(self.samples, self.sample_rate_hz)
        if now == -math.inf:
            return self
        peak = self.samples.abs().max().item()
        gain = min(10 ** ((lufs - now) / 20), PEAK_LIMIT / peak)
        return replace(self, samples=self.samples * gain)


CANCELLED_DB = -40.0
"""How far below its channels their mean must be to count as silence that was made by adding them."""


def _warn_of_cancelling(samples: Float[Tensor, "C N"], mono: Float[Tensor, " N"]) -> None:
    power, left = samples.square().mean().item(), mono.square().mean().item()
    if left < power * 10 ** (CANCELLED_DB / 10):
        _log.warning(
            "the channels of this clip cancel each other: their mean is silent or nearly so. One of them is probably "
            "inverted; use a single channel (ffmpeg -i INPUT -af pan=mono|c0=c0 OUTPUT)"
        )
