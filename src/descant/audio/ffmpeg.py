"""FFmpeg, through PyAV, which only this file imports, and only when an audio file needs it."""

import io
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Float32
from torch import Tensor

from descant.audio.source import Source, UnreadableAudio
from descant.errors import MissingExtra

if TYPE_CHECKING:
    import av

Rated = Iterator[tuple[int, Float32[np.ndarray, "N C"]]]
"""Blocks of samples, each with its rate in hertz."""

SAMPLE_KINDS: dict[str, tuple[type, int]] = {
    "u8": (np.uint8, 1 << 7),
    "s16": (np.int16, 1 << 15),
    "s32": (np.int32, 1 << 31),
    "s64": (np.int64, 1 << 63),
    "flt": (np.float32, 1),
    "dbl": (np.float64, 1),
}
"""FFmpeg's sample formats: the type, and the value of full scale. 24 bits are in the upper part of 32."""

LOSSLESS = ("flac", "wv", "tta", "ape", "tak")
"""Containers that store their exact number of samples, and whose codecs verify what they have decoded."""

MAX_MP4_PADDING = 2_048
"""How many samples at the end of a track can be padding: two frames of AAC."""

HOLE_S = 0.001
CHECKED_BY_HEADER = ("wav", "w64", "aiff", "au", "caf")

ENCODERS = {"m4a": ("ipod", "aac", "fltp", 128_000), "opus": ("opus", "libopus", "flt", 96_000)}
"""The formats that FFmpeg writes: container, encoder, its sample format, bits per second and channel."""


@dataclass
class _Count:
    """Packets that could be decoded, and packets that could not."""

    num_good: int = 0
    num_bad: int = 0
    first_bad_s: float = 0.0
    is_remainder: bool = False
    """Whether there is a single bad packet, shorter than those before it."""
    usual_bytes: int = 0

    def add_good(self, num_bytes: int) -> None:
        # A packet of no bytes only flushes the decoder.
        self.num_good += num_bytes > 0
        self.usual_bytes = max(self.usual_bytes, num_bytes)

    def add_bad(self, num_bytes: int, now_s: float) -> None:
        if not self.num_bad:
            self.first_bad_s = now_s
        self.num_bad += num_bytes > 0
        self.is_remainder = self.num_bad == 1 and num_bytes < self.usual_bytes


class Decoding:
    """One pass of FFmpeg over a file, from its beginning.

    Of several audio streams it decodes the one that is marked as default, else the one with the most channels, as the
    ``ffmpeg`` command does; pictures, video and subtitles are ignored. ``losses`` are complete when ``blocks()`` is
    exhausted.

    Args:
        file: a seekable binary file.
        starts_s: the position of its start in the whole file, for messages.
        num_frames: the number of frames, if it is known.
    """

    def __init__(self, file: Any, source: Source, starts_s: float, num_frames: int | None) -> None:
        self.losses: list[str] = []
        self.notes: list[str] = []
        self._file, self._source, self._num_frames = file, source, num_frames
        self._first_hole_s: float | None = None
        self._end_s = Fraction(0)
        self._now_s = starts_s
        self._num_samples = 0

    def blocks(self) -> Rated:
        """The samples in blocks, each with their rate.

        Raises:
            UnreadableAudio: the file cannot be decoded.
        """
        import av

        self._file.seek(0)
        try:
            with av.open(self._file, format=self._source.demuxer, metadata_errors="replace") as container:
                stream = _best_stream(container)
                rated: Rated = ((frame.sample_rate, _samples(frame)) for frame in self._frames(container, stream))
                if self._source.demuxer == "mov":
                    rated = self._without_padding(rated)
                rate_hz = 0
                for rate_hz, block in rated:
                    self._num_samples += len(block)
                    self._now_s += len(block) / rate_hz
                    yield rate_hz, block
                self._check_promise(stream, rate_hz)
        except (av.FFmpegError, OSError, ValueError) as error:
            raise UnreadableAudio(f"cannot be decoded as {self._source.name} ({_reason(error)})") from error

    def _frames(self, container: "av.container.InputContainer", stream: Any) -> Iterator["av.AudioFrame"]:
        """Every frame that can be decoded; packets that cannot are counted."""
        import av

        packets, count = container.demux(stream), _Count()
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.FFmpegError as error:
                self.losses.append(f"reading ends at {self._now_s:.2f} s ({_reason(error)})")
                break
            try:
                frames = packet.decode()
            except av.FFmpegError:
                count.add_bad(packet.size, self._now_s)
                continue
            count.add_good(packet.size)
            self._note_position(packet)
            yield from frames
        with suppress(av.FFmpegError):
            yield from stream.codec_context.decode(None)
        self._report(count)

    def _note_position(self, packet: Any) -> None:
        """Keeps the end of the packet by its timestamp, and the position of the first gap between packets."""
        if packet.pts is None:
            return
        if packet.duration:
            self._end_s = max(self._end_s, (packet.pts + packet.duration) * packet.time_base)
        # Packets of these formats have exact timestamps; a hole shows as a jump.
        is_late = packet.pts * packet.time_base > self._now_s + HOLE_S
        if self._source.demuxer in LOSSLESS and is_late and self._first_hole_s is None:
            self._first_hole_s = self._now_s

    def _report(self, count: "_Count") -> None:
        """Adds what the packets that could not be decoded mean to losses or notes."""
        num_lost = count.num_bad
        if self._num_frames is not None:
            # The first frame may be a header without sound, which is not decoded.
            num_lost = min(count.num_bad, self._num_frames - 1 - count.num_good)
        elif count.is_remainder and self._source.demuxer in CHECKED_BY_HEADER and not self._source.losses:
            # All promised bytes are there; the rest of a block at the end is padding.
            num_lost = 0
        if num_lost > 0:
            many = "a packet" if num_lost == 1 else f"{num_lost} packets"
            later = " and later" if num_lost > 1 else ""
            self.losses.append(f"{many} cannot be decoded, at {count.first_bad_s:.2f} s{later}")
        elif count.num_bad:
            self.notes.append("bytes at its end that are not a whole packet were skipped")

    def _without_padding(self, rated: Rated) -> Rated:
        """The blocks of an MP4 track up to the end of its last packet: encoders pad the last frame."""
        held: deque[tuple[int, Float32[np.ndarray, "N C"]]] = deque()
        num_samples = num_held = rate_hz = 0
        for rate_hz, block in rated:
            held.append((rate_hz, block))
            num_samples, num_held = num_samples + len(block), num_held + len(block)
            while num_held - len(held[0][1]) >= MAX_MP4_PADDING:
                num_held -= len(held[0][1])
                yield held.popleft()
        padding = num_samples - round(self._end_s * rate_hz)
        if not 0 < padding <= min(MAX_MP4_PADDING, num_held):
            padding = 0
        for rate_hz, block in held:
            num_held -= len(block)
            kept = block[: len(block) - max(0, padding - num_held)]
            if len(kept):
                yield rate_hz, kept

    def _check_promise(self, stream: Any, rate_hz: int) -> None:
        if self._source.demuxer not in LOSSLESS or stream.duration is None or self._source.losses:
            return
        promised = int(stream.duration * stream.time_base * rate_hz)
        if self._num_samples < promised:
            where = "" if self._first_hole_s is None else f", the first hole at {self._first_hole_s:.2f} s"
            self.losses.append(f"its header promises {promised} samples, {self._num_samples} are there{where}")


def _best_stream(container: "av.container.InputContainer") -> Any:
    from av.stream import Disposition

    streams = container.streams.audio
    if not streams:
        kinds = sorted({stream.type or "data" for stream in container.streams})
        raise UnreadableAudio(f"holds no audio: {'only ' + ' and '.join(kinds) if kinds else 'no stream at all'}")

    def rank(stream: Any) -> tuple[bool, int]:
        context = stream.codec_context
        return bool(stream.disposition & Disposition.default), 0 if context is None else context.channels

    stream = max(streams, key=rank)
    context = stream.codec_context
    if context is None:
        raise UnreadableAudio("is in an unknown codec, or protected against copying")
    if _tag(context) in ("drms", "enca"):
        raise UnreadableAudio("is protected against copying (DRM) and cannot be decoded")
    context.thread_count = 1
    if container.format.name in LOSSLESS:
        context.options = {"err_detect": "crccheck+explode"}
    return stream


def _tag(context: Any) -> str:
    try:
        return context.codec_tag
    except UnicodeDecodeError:
        return ""


def _samples(frame: "av.AudioFrame") -> Float32[np.ndarray, "N C"]:
    """The samples of a frame, integers scaled to [-1, 1]."""
    kind, num_channels = frame.format.name.removesuffix("p"), frame.layout.nb_channels
    dtype, full_scale = SAMPLE_KINDS[kind]
    # Not ``to_ndarray``: for eight channels and more PyAV counts planes that do not exist, and reads them.
    num_planes = num_channels if frame.format.is_planar else 1
    count = frame.samples * num_channels // num_planes
    planes: list[Any] = list(frame.planes[:num_planes])
    values: Any = np.stack([np.frombuffer(plane, dtype, count) for plane in planes])
    values = rearrange(values, "planes (N C) -> N (planes C)", N=frame.samples)
    if kind in ("flt", "dbl"):
        return np.ascontiguousarray(values, dtype=np.float32)
    if kind == "u8":
        values = values.astype(np.int16) - 128
    # Through float64 where float32 cannot represent the integer.
    wide = np.float32 if kind in ("u8", "s16") else np.float64
    return np.ascontiguousarray(values.astype(wide) / full_scale, dtype=np.float32)


def encode(samples: Float[Tensor, "C N"], sample_rate_hz: int, format: str) -> bytes:
    """The bytes of an audio file in one of ``ENCODERS``, of one or two channels.

    Raises:
        MissingExtra: this FFmpeg was built without the encoder.
    """
    import av

    container_name, codec, kind, bits_per_s = ENCODERS[format]
    if codec not in av.codecs_available:
        raise MissingExtra(
            f"{format} needs FFmpeg's encoder {codec}, which the installed PyAV lacks: pip install -U av"
        )
    values = rearrange(samples.detach().cpu().to(torch.float32), "C N -> N C").contiguous().numpy()
    layout = "mono" if values.shape[1] == 1 else "stereo"
    target = io.BytesIO()
    # Bitexact: neither library versions nor the time are written, so that equal clips give equal bytes.
    options = {"fflags": "+bitexact"}
    if format == "m4a":
        # Otherwise the length of the track is rounded to milliseconds.
        options["movie_timescale"] = str(sample_rate_hz)
    with av.open(target, "w", format=container_name, options=options) as container:
        stream = container.add_stream(codec, rate=sample_rate_hz, layout=layout)
        context: Any = stream.codec_context
        context.flags |= av.codec.context.Flags.bitexact
        context.bit_rate, context.thread_count = bits_per_s * values.shape[1], 1
        context.format = kind
        context.open()
        for start in range(0, len(values), context.frame_size):
            block = np.ascontiguousarray(values[start : start + context.frame_size])
            block = rearrange(block, "N C -> C N" if kind.endswith("p") else "N C -> 1 (N C)")
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), kind, layout)
            # Without a timestamp the muxer would not know the encoder's delay, and players would play it.
            frame.sample_rate, frame.pts, frame.time_base = sample_rate_hz, start, Fraction(1, sample_rate_hz)
            container.mux(context.encode(frame))
        container.mux(context.encode(None))
    return target.getvalue()


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return " ".join(text.split()).rstrip(".")
