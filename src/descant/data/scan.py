"""Creates the records of a manifest from a folder of music, with counts of the files found, described and skipped.

A clip's metadata comes from, in this order: ``name.json`` and ``name.txt`` next to it (``name.wav.json`` before
``name.json``), the tables of its folder and those above, and the tags in the file itself. Captions from all sources are
kept, duplicates once; of a tag with several values the first is used.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from descant.audio import AudioHeader, audio_header, check_usable
from descant.audio.common_tags import read_common_tags
from descant.data.folders import FolderContents, list_folder
from descant.data.manifest import ClipRecord
from descant.data.sidecars import Description, read_json_sidecar, read_table, read_text_sidecar
from descant.errors import AudioError, DataError, InvalidRequest

MAX_SAMPLES_PER_BYTE = 10_000
"""Above what any format reaches: digital silence in FLAC, the densest, has about 4,000 samples per byte."""

FILE_TAGS = "tags in the file"


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The result of a scan.

    Args:
        problems: excluded audio files with the reasons.
        notes: other problems, one line each: unreadable descriptions and likely mistakes.
        described: number of clips described by each kind of source.
        skipped: number of skipped entries by reason.
    """

    records: list[ClipRecord]
    problems: dict[Path, str]
    notes: list[str]
    described: dict[str, int]
    skipped: dict[str, int]


def scan_folder(folder: str | os.PathLike[str], *, valid_share: float = 0.05) -> Scan:
    """A record for every audio file below a folder, in the order of their names.

    A clip's split follows from the hash of its path below the folder, so that it does not change when clips are added.
    If a split would be empty, the clip with the nearest hash is moved there, with a note; it may move back when clips
    are added. Validation clips must not share a source with training clips: split such sets yourself.

    Args:
        valid_share: share of the clips for validation, 0 to 1. In between, both splits have at least one clip.

    Raises:
        DataError: the folder does not exist.
        InvalidRequest: ``valid_share`` is not in [0, 1].
    """
    if not 0 <= valid_share <= 1:
        raise InvalidRequest(f"valid_share={valid_share}: allowed are 0 to 1")
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{str(folder)!r} is not a folder")
    contents = list_folder(root)
    notes = [*_shared_names(contents.audio)]
    descriptions = _Descriptions(contents, notes)
    records, problems = [], {}
    for path in contents.audio:
        try:
            header = plausible_header(path)
        except AudioError as error:
            problems[path] = str(error)
            continue
        captions, tags = descriptions.of(path)
        records.append(
            ClipRecord(
                path=path.absolute(),
                duration_s=header.duration_s,
                sample_rate_hz=header.sample_rate_hz,
                num_channels=header.num_channels,
                captions=captions,
                tags=tags,
            )
        )
    notes += descriptions.final_notes()
    shares = [_share_of(record.path.relative_to(root.absolute())) for record in records]
    if len(records) == 1 and 0 < valid_share < 1:
        notes.append("there is only one clip: it is for training, and validation has none")
    chosen, forced = _split(records, shares, valid_share)
    if forced is not None:
        notes.append(
            f"{str(forced.path)!r} was put into {forced.split}, which would be empty otherwise; it may move to "
            f"the other split when clips are added: keep this manifest for a run that has started"
        )
    return Scan(
        records=chosen,
        problems=problems,
        notes=notes,
        described=dict(descriptions.counts),
        skipped=dict(contents.skipped),
    )


def plausible_header(path: Path) -> AudioHeader:
    """The header of an audio file, if it is plausible for the file size and the clip is long enough to be encoded.

    Raises:
        AudioError: it is not, or the file is not audio.
    """
    header = audio_header(path)
    size = path.stat().st_size
    if header.num_samples > MAX_SAMPLES_PER_BYTE * size:
        raise AudioError(
            f"{str(path)!r} is damaged: its header claims {header.duration_s / 3_600:.3g} hours, but the file has "
            f"{size} bytes; rewrite it: ffmpeg -i INPUT output.wav"
        )
    check_usable(path, header)
    return header


class _Descriptions:
    """Looks up the metadata of clips; what cannot be read becomes a note and does not stop the scan."""

    def __init__(self, contents: FolderContents, notes: list[str]) -> None:
        self._sidecars = contents.sidecars
        self._notes = notes
        self._guessed: list[str] = []
        self._used: set[tuple[Path, Path]] = set()
        self.counts: Counter[str] = Counter()
        self._tables: dict[Path, dict[Path, Description]] = {}
        for table in contents.tables:
            try:
                self._tables[table] = read_table(table, notes.append)
            except DataError as error:
                notes.append(f"not read: {error}")

    def of(self, audio: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
        """The captions and tags of a clip."""
        captions: list[str] = []
        tags: dict[str, Any] = {}
        for kind, found in self._found(audio):
            self.counts[kind] += 1
            captions += found.captions
            tags = {**found.tags, **tags}
        return tuple(dict.fromkeys(captions)), tags

    def final_notes(self) -> Iterator[str]:
        """Notes to report after all clips were looked up."""
        if self._guessed:
            yield f"{len(self._guessed)} files are not UTF-8 and were read as Windows-1252, first {self._guessed[0]!r}"
        for table, rows in self._tables.items():
            unused = [clip for clip in rows if (table, clip) not in self._used]
            if unused:
                few = f"{len(unused)} of its {len(rows)} clips are not in this scan"
                yield f"{str(table)!r}: {few}, first {str(unused[0])!r}"

    def _found(self, audio: Path) -> Iterator[tuple[str, Description]]:
        for suffix, reader in ((".json", read_json_sidecar), (".txt", read_text_sidecar)):
            own = self._sidecars.get(audio.with_name(audio.name + suffix))
            sidecar = own or self._sidecars.get(audio.with_suffix(suffix))
            if sidecar is not None:
                try:
                    description = reader(sidecar)
                except DataError as error:
                    self._notes.append(f"not read: {error}")
                    continue
                if description.is_guessed:
                    self._guessed.append(str(sidecar))
                if description.captions or description.tags:
                    yield f"name{suffix}", description
        clip = Path(os.path.normpath(audio.absolute()))
        for table in sorted(self._tables, key=lambda path: (-len(path.parts), path)):
            if clip in self._tables[table]:
                self._used.add((table, clip))
                yield table.name, self._tables[table][clip]
        try:
            if tags := read_common_tags(audio):
                yield FILE_TAGS, Description(tags=tags)
        except AudioError as error:
            self._notes.append(f"not read: {error}")


def _split(
    records: list[ClipRecord], shares: list[float], valid_share: float
) -> tuple[list[ClipRecord], ClipRecord | None]:
    """The records with their splits, and the record that was moved because a split would be empty, if any.

    ``shares`` below ``valid_share`` are for validation.
    """
    is_valid = [share < valid_share for share in shares]
    forced = None
    if 0 < valid_share < 1 and len(records) > 1 and len(set(is_valid)) == 1:
        forced = max(range(len(records)), key=shares.__getitem__) if is_valid[0] else shares.index(min(shares))
        is_valid[forced] = not is_valid[forced]
    split = [
        replace(record, split="valid" if chosen else "train") for record, chosen in zip(records, is_valid, strict=True)
    ]
    return split, None if forced is None else split[forced]


def _share_of(path: Path) -> float:
    """A hash of the path as a number in [0, 1)."""
    digest = hashlib.sha256(os.fsencode(path.as_posix())).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _shared_names(audio: list[Path]) -> Iterator[str]:
    """A note if files of one folder differ only in their suffix and so share their captions."""
    by_stem: dict[Path, list[Path]] = {}
    for path in audio:
        by_stem.setdefault(path.with_suffix(""), []).append(path)
    shared = [paths for paths in by_stem.values() if len(paths) > 1]
    if shared:
        first = " and ".join(repr(str(path)) for path in shared[0][:3])
        apart = shared[0][0].name + ".txt"
        yield (
            f"{len(shared)} names belong to several audio files, which share name.txt and name.json "
            f"(first {first}): keep one of them, or describe each in a file with its full name, such as {apart!r}"
        )
