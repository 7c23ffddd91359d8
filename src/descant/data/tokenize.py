"""Encodes audio into shards of codes once, so that training a language model does not need the codec.

A shard is a pure function of its clips, the codec and the plan; an interrupted run continues with the first missing
shard.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int16
from torch import Tensor

from descant.audio import AudioHeader, Clip, read_samples
from descant.codec.base import AudioCodec
from descant.codec.spec import codec_spec
from descant.data.manifest import ClipRecord
from descant.data.recorded import header_as_recorded
from descant.data.shard_plan import begin
from descant.data.shards import (
    ShardIndex,
    TokenizedClip,
    read_shard,
    shard_path,
    write_shard,
)
from descant.errors import AudioError, DataError, InvalidRequest
from descant.folder_lock import locked

CONTEXT_S = 1.0
"""Context on each side of a window of a long clip; its codes are discarded."""


@torch.inference_mode()
def tokenize(
    records: Sequence[ClipRecord],
    codec: AudioCodec,
    folder: str | os.PathLike[str],
    *,
    shard_clips: int = 256,
    batch_size: int = 8,
    window_s: float = 60.0,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    skip: Callable[[ClipRecord, str], None] | None = None,
) -> ShardIndex:
    """Encodes all clips and writes the missing shards of the folder.

    A file that cannot be read does not affect the others: without ``skip``, all shards but its own are written before
    the error is raised; with ``skip``, the clip is left out of its shard, which may become empty, and tried again by
    the next run. The clips may change between two runs, except those of existing shards.

    Clips of equal length are encoded in batches of ``batch_size``. Those longer than ``window_s`` are encoded in
    windows, each with a second of context on both sides, so that memory does not grow with their length.

    Args:
        device: the codec's device.
        progress: called after every shard with the number of clips done and in total.
        skip: called with each clip that is missing, damaged or too short, and the reason.

    Raises:
        DataError: the folder has shards of other clips, another codec or another plan, or cannot be written.
        AudioError: a clip (with ``skip``: every clip) is missing, damaged or too short; ``doctor.check`` finds them.
        ConfigError: the size of a batch, shard or window is not positive.
        InvalidRequest: the codec is in training mode, its codes do not fit 16 bits, or another process writes there.
    """
    _check_codec(codec)
    if not records:
        raise DataError("there are no clips to tokenize")
    ids = _ids(records)
    plan = ShardIndex(
        codec=codec_spec(codec),
        records_fingerprint=_records_fingerprint(records, ids),
        num_clips=len(records),
        shard_clips=shard_clips,
        batch_size=batch_size,
        window_s=window_s,
    )
    wanted = [_described(record, name) for record, name in zip(records, ids, strict=True)]
    unread: list[str] = []
    with locked(folder):
        begin(Path(folder), plan, wanted)
        for number in range(plan.num_shards):
            of_shard = slice(number * shard_clips, (number + 1) * shard_clips)
            work = _ShardWork(records[of_shard], wanted[of_shard], codec, plan, device)
            broken = work.write(shard_path(folder, number), may_leave_out=skip is not None)
            for record, reason in broken:
                unread.append(reason)
                if skip is not None:
                    skip(record, reason)
            if progress is not None:
                progress(min(of_shard.stop, len(records)), len(records))
    _check_read(unread, len(records), may_leave_out=skip is not None)
    return plan


def _check_codec(codec: AudioCodec) -> None:
    if codec.training:
        raise InvalidRequest("the codec is in training mode: call codec.eval() before tokenizing with it")
    if codec.codebook_size > torch.iinfo(torch.int16).max:
        raise InvalidRequest(f"codebooks of {codec.codebook_size} entries do not fit the shards' 16 bits")


def _check_read(unread: Sequence[str], num_clips: int, *, may_leave_out: bool) -> None:
    """Raises if unreadable clips may not be left out, or if all are unreadable; ``unread`` are the reasons."""
    if may_leave_out and len(unread) == num_clips:
        raise AudioError(f"{unread[0]} (none of all {num_clips} clips can be read)")
    if unread and not may_leave_out:
        raise AudioError(
            f"{unread[0]}{f' (and {len(unread) - 1} more)' if len(unread) > 1 else ''}: the shards of all other clips "
            f"are written; repair the file and tokenize again, or leave it out with --skip-broken (skip=)"
        )


@dataclass(frozen=True)
class _ShardWork:
    """The clips of one shard, and their metadata except for the frames."""

    records: Sequence[ClipRecord]
    wanted: Sequence[TokenizedClip]
    codec: AudioCodec
    plan: ShardIndex
    device: torch.device | str

    def write(self, path: Path, *, may_leave_out: bool) -> list[tuple[ClipRecord, str]]:
        """Writes the shard unless it exists and is complete; returns the clips that could not be read with the reasons.

        Without ``may_leave_out`` nothing is written if there is such a clip, and only the first is returned.
        """
        if path.exists():
            existing = {clip.id for clip in read_shard(path).clips}
            missing = [index for index, clip in enumerate(self.wanted) if clip.id not in existing]
            codes, broken = self._codes(missing)
            # Rewritten completely if a clip is readable again, so that a shard remains a function of its clips.
            if not codes:
                return broken
        codes, broken = self._codes(range(len(self.records)), stops_early=not may_leave_out)
        if broken and not may_leave_out:
            return broken
        clips, start = [], 0
        for index in sorted(codes):
            clips.append(replace(self.wanted[index], start_frame=start, num_frames=codes[index].shape[1]))
            start += codes[index].shape[1]
        empty = torch.empty(self.plan.codec.num_codebooks, 0, dtype=torch.int16)
        write_shard(path, clips, torch.cat([empty, *(codes[index] for index in sorted(codes))], dim=1))
        return broken

    def _codes(
        self, indices: Sequence[int], *, stops_early: bool = False
    ) -> tuple[dict[int, Int16[Tensor, "K _"]], list[tuple[ClipRecord, str]]]:
        """The codes of these clips by index, and the unreadable clips in order, or only the first one found."""
        reasons: dict[int, str] = {}
        equals: dict[AudioHeader, list[int]] = {}
        for index in indices:
            try:
                header = header_as_recorded(self.records[index])
                equals.setdefault(header._replace(num_channels=0), []).append(index)
            except AudioError as error:
                reasons[index] = str(error)
        codes: dict[int, Tensor] = {}
        for header, equal in equals.items():
            codes.update(self._encode_equal(header, equal, reasons, stops_early))
            if reasons and stops_early:
                break
        return codes, [(self.records[index], reasons[index]) for index in sorted(reasons)]

    def _encode_equal(
        self, header: AudioHeader, indices: list[int], reasons: dict[int, str], stops_early: bool
    ) -> dict[int, Int16[Tensor, "K _"]]:
        """The codes of equally long clips; unreadable ones are added to ``reasons``."""
        codes: dict[int, Tensor] = {}
        size = self.plan.batch_size
        while not (reasons and stops_early) and len(codes) < len(indices):
            batch = indices[len(codes) : len(codes) + size]
            paths = [self.records[index].path for index in batch]
            try:
                found = _encode_batch(paths, header, self.codec, self.plan, self.device)
                codes.update(zip(batch, found, strict=True))
            except _UnreadableError as error:
                # The batch is refilled, so that the batches are those of a set without the file.
                reasons[batch[paths.index(error.path)]] = str(error)
                indices = [index for index in indices if index not in reasons]
        return codes


class _UnreadableError(Exception):
    def __init__(self, path: Path, reason: AudioError) -> None:
        super().__init__(str(reason))
        self.path = path


def _encode_batch(
    paths: list[Path], header: AudioHeader, codec: AudioCodec, plan: ShardIndex, device: torch.device | str
) -> Int16[Tensor, "B K T"]:
    """The codes of equally long clips, window by window."""
    rate_hz, hop = codec.sample_rate_hz, codec.hop_samples
    num_samples = round(header.num_samples * rate_hz / header.sample_rate_hz)
    num_frames = codec.num_frames(num_samples)
    # Windows begin at frames that fall on a whole sample of the file, or resampled windows would be misaligned.
    unit = rate_hz // math.gcd(rate_hz, hop * header.sample_rate_hz)
    window = _rounded_up(plan.window_s * codec.frame_rate_hz, unit)
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
    return torch.cat(windows, dim=2).to(torch.int16)


def _wave(
    path: Path, offset: int, num_samples: int, codec: AudioCodec, rate_hz: int, length: int
) -> Float[Tensor, "C N"]:
    """Part of a file at the codec's rate and channels, padded to ``length`` samples of that rate."""
    try:
        clip = Clip(read_samples(path, offset, num_samples), rate_hz).to_channels(codec.num_channels)
    except AudioError as error:
        raise _UnreadableError(path, error) from error
    samples = clip.resample(codec.sample_rate_hz).samples
    # The resampler rounds lengths differently; an extra sample could begin another frame.
    return torch.nn.functional.pad(samples, (0, length - samples.shape[1]))


def _described(record: ClipRecord, name: str) -> TokenizedClip:
    """The shard entry of a clip, before its frames are known."""
    return TokenizedClip(
        id=name,
        start_frame=0,
        num_frames=0,
        split=record.split,
        captions=record.captions,
        tags=record.tags,
        source=f"{record.duration_s!r} s, {record.sample_rate_hz} Hz, {record.num_channels} channels",
    )


def _ids(records: Sequence[ClipRecord]) -> list[str]:
    """The clips' paths below their common folder, which do not change when the training set is moved."""
    common = os.path.commonpath([record.path.parent for record in records])
    return [record.path.relative_to(common).as_posix() for record in records]


def _records_fingerprint(records: Sequence[ClipRecord], ids: Sequence[str]) -> str:
    rows = [
        [name, *(getattr(record, field.name) for field in fields(ClipRecord) if field.name != "path")]
        for record, name in zip(records, ids, strict=True)
    ]
    return hashlib.sha256(json.dumps(rows, ensure_ascii=True).encode()).hexdigest()


def _rounded_up(num_frames: float, unit: int) -> int:
    return max(1, math.ceil(num_frames / unit)) * unit
