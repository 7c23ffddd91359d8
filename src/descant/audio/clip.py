"""The clip: audio samples with their rate, their codes and their metadata."""

import math
import os
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.atomic import AnyPath, write_atomically
from descant.audio import encode, files, tags
from descant.audio.numbers import checked_number
from descant.audio.player import player, show_player
from descant.audio.samples import Samples, as_codes, as_rate, as_samples
from descant.audio.transforms import PEAK_LIMIT, loudness_gain, mix, resample
from descant.errors import InvalidRequest
from descant.plain import Number, plain


@dataclass(frozen=True, eq=False, repr=False, init=False)
class Clip:
    """Audio in memory.

    ``samples`` are float32 and finite, on the device of the samples given; [-1, 1] is full scale, and values beyond it
    are kept while in memory. ``codes`` are the codes that it was decoded from, if there are any. ``info`` holds what is
    needed to generate it again; it must be JSON and is written into the tags of a saved file.

    ``clip[1.5:3]`` is a part of it in seconds, ``first + second`` one after the other, ``clip * 0.5`` the same audio at
    half the amplitude, ``len(clip)`` the samples of a channel, ``numpy.asarray(clip)`` all of them. Two clips are equal
    only if they are the same object; compare ``samples``.

    Args:
        samples: [channels, samples] or one channel, as a tensor, an array or a list. Floats have 1.0 as full scale,
            integers are PCM of their width. Float32 tensors are shared with the caller, anything else is copied.

    Raises:
        InvalidRequest: samples, rate or codes are invalid.
    """

    samples: Float[Tensor, "C N"]
    sample_rate_hz: int
    codes: Int[Tensor, "K T"] | None
    info: dict[str, Any]

    # So that NumPy's scalars leave ``scalar * clip`` to the clip, and nobody iterates over seconds by accident.
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
        """The part between two times in seconds; negative ones count from the end.

        As everywhere in Python, a range that reaches outside the clip is cut to it. Codes and ``info`` are dropped:
        they describe the whole clip.

        Raises:
            InvalidRequest: not a slice, a slice with a step, or an empty range.
        """
        if not isinstance(seconds, slice) or seconds.step is not None:
            raise InvalidRequest(
                f"clip[{seconds!r:.60}]: give a range of seconds, for example clip[1.5:3]; single samples are "
                "clip.samples[channel, sample]"
            )
        start, stop, _ = slice(self._sample_at(seconds.start), self._sample_at(seconds.stop)).indices(len(self))
        if start >= stop:
            raise InvalidRequest(
                f"clip[{seconds.start}:{seconds.stop}]: an empty range; the clip is {self.duration_s:g} s long"
            )
        return Clip(self.samples[:, start:stop], self.sample_rate_hz)

    def __add__(self, other: "Clip") -> "Clip":
        """This clip and then the other. Codes and ``info`` are dropped.

        Raises:
            InvalidRequest: they differ in rate or channels.
        """
        if not isinstance(other, Clip):
            return NotImplemented
        if self.sample_rate_hz != other.sample_rate_hz:
            raise InvalidRequest(
                f"clips of {self.sample_rate_hz} and {other.sample_rate_hz} Hz cannot be joined: bring one to "
                f"the other's rate, for example with .resample({self.sample_rate_hz})"
            )
        if len(self.samples) != len(other.samples):
            raise InvalidRequest(
                f"clips of {len(self.samples)} and {len(other.samples)} channels cannot be joined: bring one "
                f"to the other's number, for example with .to_channels({min(2, len(self.samples))})"
            )
        return Clip(torch.cat([self.samples, other.samples.to(self.samples.device)], dim=1), self.sample_rate_hz)

    def __mul__(self, gain: Number) -> "Clip":
        """The same audio with a gain; nothing is clipped while in memory."""
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
            raise ValueError("these samples cannot be given without a copy; leave copy=False out")
        array = self.samples.cpu().numpy()
        if copy or not is_shared:
            return np.array(array, dtype=dtype)
        shared = array.view()
        shared.flags.writeable = False
        return shared

    def numpy(self) -> np.ndarray:
        """A copy of the samples [channels, samples] as an array; soundfile writes ``.T``."""
        return np.array(self)

    def play(self) -> None:
        """Shows a player in a notebook.

        Raises:
            InvalidRequest: this is not a notebook.
        """
        show_player(self)

    @property
    def label(self) -> str:
        """A short description: the prompt if it is known, length, rate and channels."""
        channels = {1: "mono", 2: "stereo"}.get(len(self.samples), f"{len(self.samples)} channels")
        text = self.info.get("text") if isinstance(self.info, dict) else None
        of_codes = "" if self.codes is None else f", codes {list(self.codes.shape)}"
        prompt = f"{text!r:.60}, " if isinstance(text, str) else ""
        return f"{prompt}{self.duration_s:.3f} s, {self.sample_rate_hz} Hz, {channels}{of_codes}"

    def _sample_at(self, second: Any) -> int | None:
        """The index of the sample at a time in seconds."""
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
        """The clip in an audio file or an open file, in any format that libsndfile or FFmpeg reads.

        ``info`` stays empty; ``read_info`` reads it.

        Args:
            offset_s: where to start.
            duration_s: how much to read, or less if the file ends before; by default to the end.
            salvage: reads as much as possible of a damaged file, and logs what is lost.

        Raises:
            AudioError: the file is missing, not audio, empty, damaged, or longer than ``max_duration_s``.
            InvalidRequest: ``offset_s`` lies beyond the end of the file.
        """
        samples, sample_rate_hz = files.read(
            path, max_duration_s, offset_s=offset_s, duration_s=duration_s, salvage=salvage
        )
        return cls(samples, sample_rate_hz)

    def save(self, path: AnyPath | files.Writable, *, format: str | None = None, loudness: float | None = None) -> None:
        """Writes a wav, flac or aiff (16 bit), ogg (Vorbis), mp3, opus or m4a (AAC) file, atomically.

        A clip that exceeds full scale is attenuated as a whole to a peak of 0.99; nothing is clipped. The same clip
        gives the same bytes. Opus has few rates: a clip of any other is resampled to 48 kHz.

        Args:
            path: a path, or a file that is open for writing bytes, which needs ``format``.
            format: one of those seven; by default the suffix of ``path``.
            loudness: in LUFS; the clip is first normalised to it by ``normalize_loudness``.

        Raises:
            InvalidRequest: an unknown format, an unsupported rate or number of channels, or ``info`` that is not JSON.
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
        """The bytes that ``save`` writes."""
        format = encode.checked_format(format)
        samples = self.leveled(loudness)[0].samples
        return tags.with_info(encode.encode(samples, self.sample_rate_hz, format), format, self.info)

    def leveled(self, loudness: float | None) -> "tuple[Clip, float]":
        """The clip with the level that ``save`` gives it, and the gain applied.

        Args:
            loudness: in LUFS; None changes only a clip that exceeds full scale.
        """
        clip = self if loudness is None else self.normalize_loudness(loudness)
        peak, before = (one.samples.abs().max().item() for one in (clip, self))
        if peak > 1:
            clip, peak = replace(clip, samples=clip.samples * (PEAK_LIMIT / peak)), PEAK_LIMIT
        return clip, peak / before if before else 1.0

    def resample(self, rate_hz: Number) -> "Clip":
        """The clip at another rate (soxr, high quality), round(N * rate_hz / sample_rate_hz) samples long.

        Codes are dropped: they belong to the old samples.

        Raises:
            InvalidRequest: the rate is not allowed, or would leave less than one sample.
        """
        rate_hz = as_rate(rate_hz, "rate_hz")
        if rate_hz == self.sample_rate_hz:
            return self
        if 2 * self.samples.shape[1] * rate_hz <= self.sample_rate_hz:
            raise InvalidRequest(
                f"a clip of {self.samples.shape[1]} samples at {self.sample_rate_hz} Hz is less than one sample at "
                f"{rate_hz} Hz: give a longer one"
            )
        samples = resample(self.samples, self.sample_rate_hz, rate_hz)
        return replace(self, samples=samples, sample_rate_hz=rate_hz, codes=None)

    def to_channels(self, num_channels: Number) -> "Clip":
        """The clip as mono or stereo: mono is copied to both sides, anything else is averaged.

        More than two channels (5.1) become the mean of all of them, for stereo on both sides: the order of channels
        is not known for every format. Where channels cancel, that is logged as a warning.

        Raises:
            InvalidRequest: ``num_channels`` is neither 1 nor 2.
        """
        count = checked_number(num_channels, "num_channels", "1 or 2")
        if count == len(self.samples):
            return self
        if count not in (1, 2):
            raise InvalidRequest(f"num_channels={count}: allowed are 1 and 2")
        return replace(self, samples=mix(self.samples, int(count)), codes=None)

    def normalize_loudness(self, lufs: Number) -> "Clip":
        """The clip with an integrated loudness of ``lufs``, by gain alone (ITU-R BS.1770-4).

        Where that gain would raise the peak above 0.99, a smaller one is used, and the clip stays below the target.
        Silence has no loudness and is not changed.

        Raises:
            InvalidRequest: the target is not between -70 and 0 LUFS.
        """
        target = checked_number(lufs, "loudness", "a number of LUFS from -70 to 0, for example -14")
        if not -70 <= target <= 0:
            raise InvalidRequest(f"loudness={target:g} LUFS: allowed are -70 to 0; streaming services play at -14")
        gain = loudness_gain(self.samples, self.sample_rate_hz, target)
        return self if gain == 1 else replace(self, samples=self.samples * gain)
