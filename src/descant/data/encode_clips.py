"""Codes of audio files: in batches of equally long clips, and in windows where they are long."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int16
from torch import Tensor

from descant.audio import AudioHeader, Clip, read_samples
from descant.codec.base import AudioCodec
from descant.data.manifest import ClipRecord
from descant.data.recorded import header_as_recorded
from descant.data.workers import Workers
from descant.errors import AudioError, without_salvage

Int16Array: TypeAlias = npt.NDArray[np.int16]

CONTEXT_S = 1.0
"""Context on each side of a window of a long clip; its codes are discarded."""


def encode_clips(
    records: Sequence[ClipRecord], workers: Workers, *, batch_size: int, window_s: float
) -> tuple[dict[int, Int16[Tensor, "K _"]], dict[int, str]]:
    """The codes of clips by their position, and the reasons why the others cannot be read.

    Clips of equal length are encoded in batches. Those longer than ``window_s`` are encoded in windows, each with a
    second of context on both sides, so that memory does not grow with their length.
    """
    codes: dict[int, Tensor] = {}
    reasons: dict[int, str] = {}
    equals: dict[AudioHeader, list[int]] = {}
    for index, record in enumerate(records):
        try:
            header = header_as_recorded(record)
            equals.setdefault(header._replace(num_channels=0), []).append(index)
        except AudioError as error:
            reasons[index] = without_salvage(str(error))

    def started(header: AudioHeader, waiting: list[int]) -> list[tuple[list[int], Callable[[], Int16Array]]]:
        batches = [waiting[at : at + batch_size] for at in range(0, len(waiting), batch_size)]
        paths = [[records[index].path for index in batch] for batch in batches]
        return [
            (batch, workers.start_with_codec(_encode_batch, of_batch, header, window_s))
            for batch, of_batch in zip(batches, paths, strict=True)
        ]

    for header, waiting, calls in [(header, equal, started(header, equal)) for header, equal in equals.items()]:
        while calls:
            batch, call = calls.pop(0)
            try:
                codes.update(zip(batch, torch.from_numpy(call()), strict=True))
                del waiting[: len(batch)]
            except _UnreadableError as error:
                broken = next(index for index in batch if records[index].path == error.path)
                reasons[broken] = str(error)
                waiting.remove(broken)
                # Batches are refilled, so that they are those of a set without the file.
                calls = started(header, waiting)
    return codes, reasons


class _UnreadableError(Exception):
    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return self.reason


def _encode_batch(
    codec: AudioCodec, device: torch.device | str, paths: list[Path], header: AudioHeader, window_s: float
) -> Int16Array:
    """The codes of equally long clips, [B K T], window by window."""
    rate_hz, hop = codec.sample_rate_hz, codec.hop_samples
    num_samples = round(header.num_samples * rate_hz / header.sample_rate_hz)
    num_frames = codec.num_frames(num_samples)
    # Windows begin at frames that fall on a whole sample of the file, or resampled windows would be misaligned.
    unit = rate_hz // math.gcd(rate_hz, hop * header.sample_rate_hz)
    window = _rounded_up(window_s * codec.frame_rate_hz, unit)
    context = _rounded_up(CONTEXT_S * codec.frame_rate_hz, unit)
    if num_frames <= window:
        window, context = num_frames, 0
    windows = []
    for start in range(0, num_frames, window):
        first, last = max(0, start - context), start + window + context
        offset = first * hop * header.sample_rate_hz // rate_hz
        # The last window ends with the file, whether or not its last frame is full.
        end = header.num_samples if last >= num_frames else last * hop * header.sample_rate_hz // rate_hz
        length = min(last * hop, num_samples) - first * hop
        waves = [_wave(path, offset, end - offset, codec, header.sample_rate_hz, length) for path in paths]
        codes = codec.encode(torch.stack(waves).to(device)).cpu()
        windows.append(codes[:, :, start - first : min(start + window, num_frames) - first])
    return torch.cat(windows, dim=2).to(torch.int16).numpy()


def _wave(
    path: Path, offset: int, num_samples: int, codec: AudioCodec, rate_hz: int, length: int
) -> Float[Tensor, "C N"]:
    """Part of a file at the codec's rate and channels, padded to ``length`` samples of that rate."""
    try:
        clip = Clip(read_samples(path, offset, num_samples), rate_hz).to_channels(codec.num_channels)
    except AudioError as error:
        raise _UnreadableError(path, without_salvage(str(error))) from error
    samples = clip.resample(codec.sample_rate_hz).samples
    # The resampler rounds lengths differently; an extra sample could begin another frame.
    return torch.nn.functional.pad(samples, (0, length - samples.shape[1]))


def _rounded_up(num_frames: float, unit: int) -> int:
    return max(1, math.ceil(num_frames / unit)) * unit
