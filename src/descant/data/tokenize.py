"""Encodes audio into shards of codes once, so that training a language model does not need the codec.

Codes belong to audio, and everything else to the table of clips (``clip_table.py``). So only new or changed audio is
encoded: edited captions and tags, moved splits, renamed files and removed clips change the table alone. An interrupted
run continues behind the last complete shard; the table is written last, so until then a folder is what it was before.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from descant.codec.base import AudioCodec
from descant.codec.spec import codec_spec
from descant.data.audio_digests import AudioDigests, source_of
from descant.data.clip_table import TABLE_NAME, ClipRow, write_table
from descant.data.corpus import clip_rows
from descant.data.encode_clips import encode_clips
from descant.data.manifest import ClipRecord
from descant.data.shards import (
    DescribedClip,
    Shard,
    ShardIndex,
    StoredClip,
    read_index,
    read_shards,
    shard_path,
    write_index,
    write_shard,
)
from descant.errors import AudioError, ConfigError, DataError, InvalidRequest
from descant.folder_lock import locked


@dataclass(frozen=True, kw_only=True)
class TokenizeResult:
    """What a run of ``tokenize`` has done; the other clips had their codes and the same description before.

    Args:
        num_clips: in the table now.
        num_encoded: recordings that were encoded.
        num_added, num_removed: clips that are new in the table, and that are in it no more.
        num_described: clips whose captions, tags or split have changed.
    """

    index: ShardIndex
    num_clips: int
    num_shards: int
    num_encoded: int
    num_added: int
    num_removed: int
    num_described: int


@torch.inference_mode()
def tokenize(
    records: Sequence[ClipRecord],
    codec: AudioCodec,
    folder: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    shard_clips: int = 256,
    batch_size: int = 8,
    window_s: float = 60.0,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    skip: Callable[[ClipRecord, str], None] | None = None,
) -> TokenizeResult:
    """Makes a folder hold the codes of all clips, and the table that describes them. Only missing codes are encoded.

    A file that cannot be read does not affect the others: without ``skip``, all other codes are written before the
    error is raised; with ``skip``, the clip is left out of the table, and tried again by the next run. A file that is
    gone, but was encoded before, keeps its codes. Codes of clips that are removed stay in their shard.

    Clips of equal length are encoded in batches of ``batch_size``. Those longer than ``window_s`` are encoded in
    windows, each with a second of context on both sides, so that memory does not grow with their length.

    Args:
        root: the folder below which clips are named by their paths; by default the one that all of them are in, which
            may be another when clips are added.
        shard_clips: the largest number of clips in a new shard.
        device: the codec's device.
        progress: called with the number of clips done and in total, after every new shard and every clip without work.
        skip: called with each clip that is missing, damaged or too short, and the reason.

    Raises:
        DataError: the folder has codes of another codec or with another ``window_s``, or cannot be written.
        AudioError: a clip (with ``skip``: every clip) is missing, damaged or too short; ``data check`` finds them.
        ConfigError: the size of a batch, shard or window is not positive.
        InvalidRequest: the codec is in training mode, its codes do not fit 16 bits, or another process writes there.
    """
    _check_codec(codec)
    if not records:
        raise DataError("there are no clips to tokenize")
    if min(shard_clips, batch_size) < 1:
        raise ConfigError(f"shard_clips={shard_clips}, batch_size={batch_size}: both must be above 0")
    index = ShardIndex(codec=codec_spec(codec), window_s=window_s)
    with locked(folder):
        work = _Tokenizing(Path(folder), index, codec, device, shard_clips, batch_size)
        work.add_all(records, names_of(records, root), progress)
        unread = sorted(work.unread.items())
        if skip is not None:
            for number, reason in unread:
                skip(records[number], reason)
        _check_read([reason for _, reason in unread], len(records), may_leave_out=skip is not None)
        return work.finish()


def names_of(records: Sequence[ClipRecord], root: str | os.PathLike[str] | None = None) -> list[str]:
    """The clips' paths below a folder, which do not change when a training set is moved.

    Without ``root``, or if a clip is elsewhere, it is the folder that all clips are in.
    """
    paths = [Path(os.path.normpath(record.path.absolute())) for record in records]
    below = None if root is None else Path(os.path.normpath(Path(root).absolute()))
    if below is None or not all(path.is_relative_to(below) for path in paths):
        below = Path(os.path.commonpath([path.parent for path in paths]))
    return [path.relative_to(below).as_posix() for path in paths]


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
            f"{unread[0]}{f' (and {len(unread) - 1} more)' if len(unread) > 1 else ''}: the codes of all other clips "
            f"are written; repair the file and tokenize again, or leave it out (without --strict; skip=)"
        )


@dataclass
class _Tokenizing:
    """One run: ``add_all`` encodes what is missing, ``finish`` writes the table.

    Args:
        unread: the clips that cannot be read by their position, with the reasons.
    """

    folder: Path
    index: ShardIndex
    codec: AudioCodec
    device: torch.device | str
    shard_clips: int
    batch_size: int
    unread: dict[int, str] = field(default_factory=dict)
    rows: dict[int, ClipRow] = field(default_factory=dict)
    num_encoded: int = 0

    def __post_init__(self) -> None:
        _begin(self.folder, self.index)
        shards = read_shards(self.folder)
        self.stored = {clip.audio for shard in shards.values() for clip in shard.clips}
        self.next_shard = max(shards, default=-1) + 1
        self.before = clip_rows(self.folder, shards) or []
        self.digests = AudioDigests(self.folder)
        has_table = (self.folder / TABLE_NAME).exists()
        self.first_version = {} if has_table else _described(shards)

    def add_all(
        self, records: Sequence[ClipRecord], names: Sequence[str], progress: Callable[[int, int], None] | None
    ) -> None:
        """Finds the audio of each clip, and encodes what is not stored, a shard at a time."""
        waiting: dict[str, int] = {}
        for number, (record, name, old_name) in enumerate(zip(records, names, names_of(records), strict=True)):
            try:
                audio = self._audio(record, name, self.first_version.get(old_name))
            except AudioError as error:
                self.unread[number] = str(error)
                continue
            self.rows[number] = ClipRow(
                id=name, audio=audio, split=record.split, captions=record.captions, tags=record.tags
            )
            if audio not in self.stored:
                waiting.setdefault(audio, number)
            if len(waiting) == self.shard_clips:
                self._encode(waiting, records)
            if not waiting and progress is not None:
                progress(number + 1, len(records))
        if waiting:
            self._encode(waiting, records)
        if progress is not None:
            progress(len(records), len(records))

    def finish(self) -> TokenizeResult:
        """Writes the table, and says what has changed."""
        rows = [self.rows[number] for number in sorted(self.rows)]
        self.digests.save()
        if rows != self.before or not (self.folder / TABLE_NAME).exists():
            write_table(self.folder, rows)
        # After the table: without one, a folder of version 1 is described by its shards.
        write_index(self.folder, self.index)
        before = {row.audio: row for row in self.before}
        now = {row.audio: row for row in rows}
        known = now.keys() & before.keys()
        return TokenizeResult(
            index=self.index,
            num_clips=len(rows),
            num_shards=self.next_shard,
            num_encoded=self.num_encoded,
            num_added=len(now.keys() - known),
            num_removed=len(before.keys() - known),
            num_described=sum(_description(now[audio]) != _description(before[audio]) for audio in known),
        )

    def _audio(self, record: ClipRecord, name: str, first: DescribedClip | None) -> str:
        """The digest by which the shards know a clip."""
        if first is not None and first.source in ("", source_of(record)):
            self.digests.add(record, name, first.audio)
            return first.audio
        return self.digests.digest(record, name)

    def _encode(self, waiting: dict[str, int], records: Sequence[ClipRecord]) -> None:
        """Writes a shard with the codes of these clips, and empties the list of them."""
        digests = list(waiting)
        codes, reasons = encode_clips(
            [records[number] for number in waiting.values()],
            self.codec,
            batch_size=self.batch_size,
            window_s=self.index.window_s,
            device=self.device,
        )
        for index, reason in reasons.items():
            broken = [number for number, row in self.rows.items() if row.audio == digests[index]]
            self.unread |= dict.fromkeys(broken, reason)
            for number in broken:
                del self.rows[number]
        clips, start = [], 0
        for index in sorted(codes):
            num_frames = codes[index].shape[1]
            clips.append(StoredClip(audio=digests[index], start_frame=start, num_frames=num_frames))
            start += num_frames
        if clips:
            write_shard(
                shard_path(self.folder, self.next_shard), clips, torch.cat([codes[i] for i in sorted(codes)], 1)
            )
            self.next_shard += 1
        self.stored |= {clip.audio for clip in clips}
        self.num_encoded += len(clips)
        self.digests.save()
        waiting.clear()


def _begin(folder: Path, index: ShardIndex) -> None:
    """Writes the index into a new folder, or checks that the shards of an existing one fit.

    Raises:
        DataError: the folder has other contents, or codes of another codec or with other windows.
    """
    if not any(not path.name.startswith(".") for path in folder.iterdir()):
        write_index(folder, index)
        return
    found = read_index(folder)
    changed = [name for name in ("codec", "window_s") if getattr(found, name) != getattr(index, name)]
    if changed:
        raise DataError(
            f"{str(folder)!r} was started with another {' and '.join(changed)}: its shards would be inconsistent. "
            f"Use a new folder, or delete this one"
        )


def _described(shards: Mapping[int, Shard]) -> dict[str, DescribedClip]:
    """The clips of shards of version 1, by their names."""
    clips = (clip for shard in shards.values() for clip in shard.clips)
    return {clip.id: clip for clip in clips if isinstance(clip, DescribedClip)}


def _description(row: ClipRow) -> tuple[object, ...]:
    return row.split, row.captions, row.tags
