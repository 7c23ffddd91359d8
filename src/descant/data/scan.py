"""From a folder of music to the records of a manifest, with a count of all that was found, read and passed over.

What is said of a clip is gathered from, in this order: ``name.json`` and ``name.txt`` next to it (``name.wav.json``
before ``name.json``), the tables of its folder and those above, and the tags in the file itself. Wordings add up, equal
ones once; of a tag that several of them have, the first holds.
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
from descant.data.sidecars import Description, read_json, read_table, read_txt
from descant.errors import AudioError, DataError, InvalidRequest

MAX_SAMPLES_PER_BYTE = 10_000
"""More than any format gets out of a byte: digital silence in FLAC, the densest, has some 4,000."""

FILE_TAGS = "tags in the file"


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What a scan found.

    Args:
        problems: sound files that are left out, each with the reason.
        notes: what else is wrong, a line each: descriptions that cannot be read, and what may not be meant so.
        described: how many clips are described by each kind of source.
        skipped: how many things of each kind were passed over.
    """

    records: list[ClipRecord]
    problems: dict[Path, str]
    notes: list[str]
    described: dict[str, int]
    skipped: dict[str, int]


def scan_folder(folder: str | os.PathLike[str], *, valid_share: float = 0.05) -> Scan:
    """Every sound file below a folder as a record, in the order of their names.

    A clip's split follows from the hash of its path below the folder, so that it stays where it is when others are
    added. Where the hashes would leave one part empty, the clip whose hash is nearest is put there all the same, with a
    note; it may move to the other part when clips are added. Clips to be validated on must not share a source with
    trained ones: split such sets yourself.

    Args:
        valid_share: how many of the clips are kept for validation, 0 to 1. Between the two each part has a clip.

    Raises:
        DataError: there is no such folder.
        InvalidRequest: ``valid_share`` is no share.
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
    notes += descriptions.remarks()
    shares = [_share_of(record.path.relative_to(root.absolute())) for record in records]
    if len(records) == 1 and 0 < valid_share < 1:
        notes.append("there is one clip: it is trained on, and none is left to validate on")
    chosen, forced = _split(records, shares, valid_share)
    if forced is not None:
        notes.append(
            f"{str(forced.path)!r} was put into {forced.split} so that it is not empty, and may move to the other part "
            f"when clips are added: keep this manifest for a run that has begun"
        )
    return Scan(
        records=chosen,
        problems=problems,
        notes=notes,
        described=dict(descriptions.counts),
        skipped=dict(contents.skipped),
    )


def plausible_header(path: Path) -> AudioHeader:
    """What a file's header says, if the file is large enough for it and the clip long enough to be coded.

    Raises:
        AudioError: it is not, or the file is no sound.
    """
    header = audio_header(path)
    size = path.stat().st_size
    if header.num_samples > MAX_SAMPLES_PER_BYTE * size:
        raise AudioError(
            f"{str(path)!r} is damaged: its header promises {header.duration_s / 3_600:.3g} hours, the file has {size} "
            f"bytes; write it anew: ffmpeg -i INPUT output.wav"
        )
    check_usable(path, header)
    return header


class _Descriptions:
    """Looks up what is said of clips; what cannot be read becomes a note, and never ends a scan."""

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
                notes.append(f"left unread: {error}")

    def of(self, audio: Path) -> tuple[tuple[str, ...], dict[str, Any]]:
        """The captions and the tags of a clip."""
        captions: list[str] = []
        tags: dict[str, Any] = {}
        for kind, found in self._found(audio):
            self.counts[kind] += 1
            captions += found.captions
            tags = {**found.tags, **tags}
        return tuple(dict.fromkeys(captions)), tags

    def remarks(self) -> Iterator[str]:
        """What there is to say once all clips were looked up."""
        if self._guessed:
            yield f"{len(self._guessed)} files are no UTF-8 and were read as Windows-1252, first {self._guessed[0]!r}"
        for table, rows in self._tables.items():
            unused = [clip for clip in rows if (table, clip) not in self._used]
            if unused:
                few = f"{len(unused)} of its {len(rows)} clips are not in this scan"
                yield f"{str(table)!r}: {few}, first {str(unused[0])!r}"

    def _found(self, audio: Path) -> Iterator[tuple[str, Description]]:
        for suffix, reader in ((".json", read_json), (".txt", read_txt)):
            own = self._sidecars.get(audio.with_name(audio.name + suffix))
            sidecar = own or self._sidecars.get(audio.with_suffix(suffix))
            if sidecar is not None:
                try:
                    description = reader(sidecar)
                except DataError as error:
                    self._notes.append(f"left unread: {error}")
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
            self._notes.append(f"left unread: {error}")


def _split(
    records: list[ClipRecord], shares: list[float], valid_share: float
) -> tuple[list[ClipRecord], ClipRecord | None]:
    """The records with their splits, and the one whose share does not say so but a part would be empty without it.

    Shares below ``valid_share`` are to validate on.
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
    """A number in [0, 1) that is drawn once for all for this path."""
    digest = hashlib.sha256(os.fsencode(path.as_posix())).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _shared_names(audio: list[Path]) -> Iterator[str]:
    """A line where files of one folder differ in nothing but their suffix, and so share their captions."""
    by_stem: dict[Path, list[Path]] = {}
    for path in audio:
        by_stem.setdefault(path.with_suffix(""), []).append(path)
    shared = [paths for paths in by_stem.values() if len(paths) > 1]
    if shared:
        first = " and ".join(repr(str(path)) for path in shared[0][:3])
        apart = shared[0][0].name + ".txt"
        yield (
            f"{len(shared)} names are those of several sound files, which share name.txt and name.json "
            f"(first {first}): keep one of them, or describe each in a file of its whole name, as in {apart!r}"
        )
