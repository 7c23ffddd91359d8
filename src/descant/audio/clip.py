"""The clip: samples with their rate, and where they came from."""

import logging
import math
import os
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import soxr
import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor

from descant.atomic import AnyPath, write_atomically
from descant.audio import encode, files, tags
from descant.audio.loudness import integrated_loudness
from descant.audio.numbers import checked_number
from descant.audio.player import player, show_player
from descant.audio.samples import Samples, as_codes, as_rate, as_samples
from descant.errors import InvalidRequest
from descant.plain import Number, plain

_log = logging.getLogger("descant")

PEAK_LIMIT = 0.99
"""The largest absolute sample after a gain was chosen here: lossy encoders overshoot a little."""


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Clip:
    """A piece of sound.

    ``samples`` are float32 and finite, on the device where they came from; [-1, 1] is full scale, and values beyond it
    are kept while in memory. ``codes`` are the codec's codes it was decoded from, if it was. ``info`` is what is needed
    to make it again; it must be JSON and is written into the tags of a saved file.

    ``clip[1.5:3]`` is a part of it in seconds, ``first + second`` one after the other, ``clip * 0.5`` the same sound
    less loud, ``len(clip)`` the samples of a channel, ``numpy.asarray(clip)`` all of them. Two clips are equal only if
    they are the same object; compare ``samples``.

    Args:
        samples: [channels, samples] or one channel, as a tensor, an array or a list. Floats have 1.0 as full scale,
            integers are PCM of their width. Float32 tensors are shared with the caller, anything else is copied.

    Raises:
        InvalidRequest: samples, rate or codes that no clip may have.
    """

    samples: Float[Tensor, "C N"]
    sample_rate_hz: int
    codes: Int[Tensor, "K T"] | None
    info: dict[str, Any]

    # NumPy's scalars leave ``scalar * clip`` to the clip then, and nobody iterates over seconds by accident.
    __array_ufunc__ = None
    __iter__ = None

    def __init__(
        self,
        samples: Samples,
        sample_rate_hz: Number,
        codes: Int[Tensor, "K T"] | np.ndarray | None = None,
        info: dict[str, Any] | None = None,
    ) -> None:
        if isinstance(samples, Clip):
            raise InvalidRequest("samples: this is a clip already; clip.resample() gives it another rate")
        codes = None if codes is None else as_codes(codes)
        values = (as_samples(samples), as_rate(sample_rate_hz), codes, {} if info is None else info)
        for name, value in zip(("samples", "sample_rate_hz", "codes", "info"), values, strict=True):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Clip({self.label})"

    def _repr_html_(self) -> str:
        """A player, for notebooks."""
        return player(self)

    def __len__(self) -> int:
        return self.samples.shape[1]

    def __getitem__(self, seconds: slice) -> "Clip":
        """The part between two seconds, which count from the end where they are negative.

        As everywhere in Python, what lies outside the clip is left out. Codes and ``info`` do not survive: they are
        those of the whole.

        Raises:
            InvalidRequest: not a slice, one with a step, or one in which nothing lies.
        """
        if not isinstance(seconds, slice) or seconds.step is not None:
            raise InvalidRequest(
                f"clip[{seconds!r:.60}]: give a range of seconds, for example clip[1.5:3]; single samples are "
                "clip.samples[channel, sample]"
            )
        start, stop, _ = slice(self._sample_at(seconds.start), self._sample_at(seconds.stop)).indices(len(self))
        if start >= stop:
            raise InvalidRequest(
                f"clip[{seconds.start}:{seconds.stop}]: nothing lies there; the clip is {self.duration_s:g} s long"
            )
        return Clip(self.samples[:, start:stop], self.sample_rate_hz)

    def __add__(self, other: "Clip") -> "Clip":
        """This clip and then the other. Codes and ``info`` do not survive.

        Raises:
            InvalidRequest: they differ in rate or channels.
        """
        if not isinstance(other, Clip):
            return NotImplemented
        if self.sample_rate_hz != other.sample_rate_hz:
            raise InvalidRequest(
                f"clips of {self.sample_rate_hz} and {other.sample_rate_hz} Hz cannot follow each other: bring one to "
                f"the other's rate, for example with .resample({self.sample_rate_hz})"
            )
        if len(self.samples) != len(other.samples):
            raise InvalidRequest(
                f"clips of {len(self.samples)} and {len(other.samples)} channels cannot follow each other: bring one "
                f"to the other's, for example with .to_channels({min(2, len(self.samples))})"
            )
        return Clip(torch.cat([self.samples, other.samples.to(self.samples.device)], dim=1), self.sample_rate_hz)

    def __mul__(self, gain: Number) -> "Clip":
        """The same sound, so many times as loud; nothing is clipped while in memory."""
        factor = plain(gain)
        if not isinstance(factor, int | float):
            return NotImplemented
        if isinstance(factor, bool) or not abs(factor) <= sys.float_info.max:
            raise InvalidRequest(f"clip * {factor!r:.60}: expected a finite number")
        return replace(self, samples=self.samples * factor)

    __rmul__ = __mul__

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """The samples for NumPy, read-only where they are shared with the clip.

        Raises:
            ValueError: ``copy=False``, and the samples are on another device or of another type.
        """
        is_shared = self.samples.device.type == "cpu" and dtype in (None, np.float32)
        if copy is False and not is_shared:
            raise ValueError("these samples cannot be had without a copy; leave copy=False out")
        array = self.samples.cpu().numpy()
        if copy or not is_shared:
            return np.array(array, dtype=dtype)
        shared = array.view()
        shared.flags.writeable = False
        return shared

    def numpy(self) -> np.ndarray:
        """The samples [channels, samples] as an array of its own; ``.T`` is what soundfile writes."""
        return np.array(self)

    def play(self) -> None:
        """Shows a player in a notebook.

        Raises:
            InvalidRequest: this is no notebook.
        """
        show_player(self)

    @property
    def label(self) -> str:
        """In a few words what it is: what was asked for where that is known, length, rate and channels."""
        channels = {1: "mono", 2: "stereo"}.get(len(self.samples), f"{len(self.samples)} channels")
        text = self.info.get("text") if isinstance(self.info, dict) else None
        of_codes = "" if self.codes is None else f", codes {list(self.codes.shape)}"
        asked = f"{text!r:.60}, " if isinstance(text, str) else ""
        return f"{asked}{self.duration_s:.3f} s, {self.sample_rate_hz} Hz, {channels}{of_codes}"

    def _sample_at(self, second: Any) -> int | None:
        """The sample with which a second begins."""
        second = plain(second)
        if second is None:
            return None
        if isinstance(second, bool) or not isinstance(second, int | float) or not math.isfinite(second):
            raise InvalidRequest(f"clip[...]: {second!r:.60} is not a second; give finite numbers")
        return round(second * self.sample_rate_hz)

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

    def save(self, path: AnyPath | files.Writable, *, format: str | None = None, loudness: float | None = None) -> None:
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
        write_atomically(files.as_path(path), content)

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

    def resample(self, rate_hz: Number) -> "Clip":
        """The same sound at another rate (soxr, high quality), round(N * rate_hz / sample_rate_hz) samples long.

        Codes do not survive: they were those of the old samples.

        Raises:
            InvalidRequest: a rate that no clip may have, or that would leave not one sample.
        """
        rate_hz = as_rate(rate_hz, "rate_hz")
        if rate_hz == self.sample_rate_hz:
            return self
        if 2 * self.samples.shape[1] * rate_hz <= self.sample_rate_hz:
            raise InvalidRequest(
                f"a clip of {self.samples.shape[1]} samples at {self.sample_rate_hz} Hz is less than one sample at "
                f"{rate_hz} Hz: give a longer one"
            )
        interleaved = rearrange(self.samples.cpu(), "C N -> N C").numpy()
        resampled = soxr.resample(np.ascontiguousarray(interleaved), self.sample_rate_hz, rate_hz, quality="HQ")
        samples = rearrange(torch.from_numpy(resampled), "N C -> C N").contiguous()
        return replace(self, samples=samples, sample_rate_hz=rate_hz, codes=None)

    def to_channels(self, num_channels: Number) -> "Clip":
        """The same sound as mono or stereo: mono is copied to both sides, anything else is averaged.

        More than two channels (5.1) become the mean of all of them, on both sides if stereo is asked for: which
        channel stands where is not known for every format. Where channels cancel, that is logged as a warning.

        Raises:
            InvalidRequest: neither one nor two channels are asked for.
        """
        count = checked_number(num_channels, "num_channels", "1 or 2")
        if count == len(self.samples):
            return self
        if count not in (1, 2):
            raise InvalidRequest(f"num_channels={count}: allowed are 1 and 2")
        mono = self.samples.mean(dim=0)
        if len(self.samples) > 1:
            _warn_of_cancelling(self.samples, mono)
        return replace(self, samples=repeat(mono, "N -> C N", C=int(count)).contiguous(), codes=None)

    def normalize_loudness(self, lufs: Number) -> "Clip":
        """The clip with an integrated loudness of ``lufs``, by gain alone (ITU-R BS.1770-4).

        Where that gain would bring the peak past 0.99 a smaller one is used, and the clip ends below the target.
        Silence has no loudness and is left as it is.

        Raises:
            InvalidRequest: a target that is not between -70 and 0 LUFS.
        """
        target = checked_number(lufs, "loudness", "a number of LUFS from -70 to 0, for example -14")
        if not -70 <= target <= 0:
            raise InvalidRequest(f"loudness={target:g} LUFS: allowed are -70 to 0; streaming services play at -14")
        now = integrated_loudness(self.samples, self.sample_rate_hz)
        if now == -math.inf:
            return self
        peak = self.samples.abs().max().item()
        gain = min(10 ** ((target - now) / 20), PEAK_LIMIT / peak)
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
