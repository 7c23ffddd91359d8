"""Encodes audio into shards of codes once, so that training a language model does not need the codec.

Codes belong to audio, and everything else to the table of clips (``clip_table.py``). So only new or changed audio is
encoded: edited captions and tags, moved splits, renamed files and removed clips change the table alone. An interrupted
run continues behind the last complete shard; the table is written last, so until then a folder is what it was before.
Several processes read and encode, and one of them arranges: batches, and with the starter's codec the bytes, do not
depend on their number.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import torch

from descant.codec.base import AudioCodec
from descant.codec.spec import codec_spec
from descant.data.audio_digests import AudioDigests, MeasuredAudio, measure, source_of
from descant.data.clip_table import TABLE_NAME, ClipRow, write_table
from descant.data.corpus import clip_rows
from descant.data.encode_clips import encode_clips
from descant.data.manifest import ClipRecord, names_of
from descant.data.parts import JoinedParts, Part, begin_folder, part_folders
from descant.data.shard_index import INDEX_NAME, ShardIndex, write_index
from descant.data.shards import DescribedClip, Shard, StoredClip, read_shards, shard_path, write_shard
from descant.data.workers import Workers
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
        kept_parts: the folders of parts that also have codes of other clips; these are not joined, and stay there.
    """

    index: ShardIndex
    num_clips: int
    num_shards: int
    num_encoded: int
    num_added: int
    num_removed: int
    num_described: int
    kept_parts: tuple[str, ...] = ()


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
    workers: int | Workers = 1,
    part: Part | None = None,
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
        workers: the number of processes that read and encode; more than one has a copy of the codec each. Or the
            processes themselves, which may have been started before the codec was there.
        part: only this share of the clips, into a folder of its own (``parts.py``). A run without it, which all parts
            have to have ended before, joins them and encodes what is missing.
        progress: called with the number of clips done and in total, after every new shard and every clip without work.
        skip: called with each clip that is missing, damaged or too short, and the reason.

    Raises:
        DataError: the folder has codes of another codec or with another ``window_s``, or cannot be written.
        AudioError: a clip (with ``skip``: every clip) is missing, damaged or too short; ``data check`` finds them.
        ConfigError: the size of a batch, shard or window is not positive.
        InvalidRequest: the codec is in training mode, its codes do not fit 16 bits, another process writes there, or
            there are no clips in this part.
        ProcessLost: one of several workers was ended.
    """
    _check_codec(codec)
    if not records:
        raise DataError("there are no clips to tokenize")
    if min(shard_clips, batch_size) < 1:
        raise ConfigError(f"shard_clips={shard_clips}, batch_size={batch_size}: both must be above 0")
    index = ShardIndex(codec=codec_spec(codec), window_s=window_s)
    place, names = Path(folder), names_of(records, root)
    if part is not None:
        place, records, names = part.folder(place), part.own(records, shard_clips), part.own(names, shard_clips)
        if not records:
            raise InvalidRequest(f"part {part.number}/{part.count}: there are too few clips for it; name fewer parts")
    with ExitStack() as stack:
        stack.enter_context(locked(place))
        # Listed once: a part that begins later is not locked, so it must not be joined.
        parts = part_folders(place)
        for one in parts:
            stack.enter_context(locked(one))
        encoders = stack.enter_context(Workers(workers)) if isinstance(workers, int) else workers
        encoders.use(codec, device)
        joined = JoinedParts(parts, index)
        part_of = None if part is None else Path(folder)
        work = _Tokenizing(place, index, encoders, shard_clips, batch_size, joined, part_of)
        work.add_all(records, names, progress)
        unread = sorted(work.unread.items())
        if skip is not None:
            for number, reason in unread:
                skip(records[number], reason)
        _check_read([reason for _, reason in unread], len(records), may_leave_out=skip is not None)
        return work.finish()


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
        part_of: the folder of shards that this one is a part of; a part gets no table.
        unread: the clips that cannot be read by their position, with the reasons.
    """

    folder: Path
    index: ShardIndex
    workers: Workers
    shard_clips: int
    batch_size: int
    parts: JoinedParts
    part_of: Path | None
    unread: dict[int, str] = field(default_factory=dict)
    rows: dict[int, ClipRow] = field(default_factory=dict)
    num_encoded: int = 0

    def __post_init__(self) -> None:
        begin_folder(self.folder, self.index)
        shards = read_shards(self.folder)
        self.stored = {clip.audio for shard in shards.values() for clip in shard.clips}
        others = []
        if self.part_of is not None and (self.part_of / INDEX_NAME).exists():
            begin_folder(self.part_of, self.index)
            self.stored |= {clip.audio for shard in read_shards(self.part_of).values() for clip in shard.clips}
            others = [self.part_of]
        self.next_shard = max(shards, default=-1) + 1
        self.before = clip_rows(self.folder, shards) or []
        self.digests = AudioDigests(self.folder, [*self.parts.folders, *others])
        has_table = (self.folder / TABLE_NAME).exists()
        self.first_version = {} if has_table else _described(shards)

    def add_all(
        self, records: Sequence[ClipRecord], names: Sequence[str], progress: Callable[[int, int], None] | None
    ) -> None:
        """Finds the audio of each clip, and encodes what is not stored, a shard at a time."""
        waiting: dict[str, int] = {}
        old_names = names_of(records)
        calls = (
            self._audio(record, name, self.first_version.get(old_name))
            for record, name, old_name in zip(records, names, old_names, strict=True)
        )
        for number, audio_of in enumerate(self.workers.ahead(calls)):
            record, name = records[number], names[number]
            try:
                audio = audio_of()
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
        if self.part_of is None and (rows != self.before or not (self.folder / TABLE_NAME).exists()):
            write_table(self.folder, rows)
        # After the table: without one, a folder of version 1 is described by its shards.
        write_index(self.folder, self.index)
        kept = self.parts.remove(self.stored)
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
            kept_parts=tuple(map(str, kept)),
        )

    def _audio(self, record: ClipRecord, name: str, first: DescribedClip | None) -> Callable[[], str]:
        """A function that gives the digest by which the shards know a clip, or raises ``AudioError``."""
        if first is not None and first.source in ("", source_of(record)):
            self.digests.add(record, name, first.audio)
            return lambda: first.audio
        known = self.digests.known(record, name)
        if known is not None:
            return lambda: known
        measured: Callable[[], MeasuredAudio] = self.workers.start(measure, record)

        def audio() -> str:
            found = measured()
            self.digests.add_measured(record, name, found)
            return found.audio

        return audio

    def _encode(self, waiting: dict[str, int], records: Sequence[ClipRecord]) -> None:
        """Writes a shard with the codes of these clips, and empties the list of them."""
        codes = {audio: codes for audio in waiting if (codes := self.parts.codes(audio)) is not None}
        missing = [audio for audio in waiting if audio not in codes]
        encoded, reasons = encode_clips(
            [records[waiting[audio]] for audio in missing],
            self.workers,
            batch_size=self.batch_size,
            window_s=self.index.window_s,
        )
        codes |= {missing[index]: of_clip for index, of_clip in encoded.items()}
        for index, reason in reasons.items():
            broken = [number for number, row in self.rows.items() if row.audio == missing[index]]
            self.unread |= dict.fromkeys(broken, reason)
            for number in broken:
                del self.rows[number]
        clips, start = [], 0
        held = [audio for audio in waiting if audio in codes]
        for audio in held:
            num_frames = codes[audio].shape[1]
            clips.append(StoredClip(audio=audio, start_frame=start, num_frames=num_frames))
            start += num_frames
        if clips:
            write_shard(shard_path(self.folder, self.next_shard), clips, torch.cat([codes[one] for one in held], 1))
            self.next_shard += 1
        self.stored |= {clip.audio for clip in clips}
        self.num_encoded += len(encoded)
        self.digests.save()
        waiting.clear()


def _described(shards: Mapping[int, Shard]) -> dict[str, DescribedClip]:
    """The clips of shards of version 1, by their names."""
    clips = (clip for shard in shards.values() for clip in shard.clips)
    return {clip.id: clip for clip in clips if isinstance(clip, DescribedClip)}


def _description(row: ClipRow) -> tuple[object, ...]:
    return row.split, row.captions, row.tags
