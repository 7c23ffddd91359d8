"""Creates the records of a manifest from a folder of music, with counts of the files found, described and skipped."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from descant.audio import AudioHeader, audio_header, check_usable
from descant.data.descriptions import Descriptions
from descant.data.families import read_families
from descant.data.folders import list_folder
from descant.data.manifest import ClipRecord, Split
from descant.data.splits import split_works
from descant.data.works import works_of
from descant.errors import AudioError, DataError, InvalidRequest

MAX_SAMPLES_PER_BYTE = 10_000
"""Above what any format reaches: digital silence in FLAC, the densest, has about 4,000 samples per byte."""

STATED_SPLITS: dict[str, Split] = {"train": "train", "training": "train", "valid": "valid", "validation": "valid"}
"""Values of a description's ``split``."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """The result of a scan.

    Args:
        works: the name of the work that each record is of.
        problems: excluded audio files with the reasons.
        notes: other problems, one line each: unreadable descriptions and likely mistakes.
        described: number of clips described by each kind of source.
        skipped: number of skipped entries by reason.
    """

    records: list[ClipRecord]
    works: list[str]
    problems: dict[Path, str]
    notes: list[str]
    described: dict[str, int]
    skipped: dict[str, int]


def scan_folder(
    folder: str | os.PathLike[str],
    *,
    valid_share: float = 0.05,
    previous: Sequence[ClipRecord] = (),
    uses_measured: bool = True,
) -> Scan:
    """A record for every audio file below a folder, in the order of their names.

    Clips of one work (``works.py``) are in the same split, and so are those of a family that a check has found
    (``families.py``). A clip's split is that of its description (``split``), else
    that of ``previous``, else drawn by the name of its work (``splits.py``). For two or more works there is always a
    validation split; if all clips seem to be of one work, they are split one by one, with a note.

    Args:
        valid_share: share of the clips for validation, 0 to 1; at 0 and 1 a split is empty.
        previous: the records of an earlier scan, so that clips keep their split when others are added.
        uses_measured: whether measured tags (``measured.py``) complete the descriptions.

    Raises:
        DataError: the folder does not exist, or its families cannot be read.
        InvalidRequest: ``valid_share`` is not in [0, 1].
    """
    if not 0 <= valid_share <= 1:
        raise InvalidRequest(f"valid_share={valid_share}: allowed are 0 to 1")
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"{str(folder)!r} is not a folder")
    contents = list_folder(root)
    if not uses_measured:
        contents = replace(contents, measured=[])
    notes = [*_shared_names(contents.audio)]
    descriptions = Descriptions(contents, notes)
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
    records, works = _with_splits(records, root.absolute(), valid_share, previous, notes)
    return Scan(
        records=records,
        works=works,
        problems=problems,
        notes=notes,
        described=dict(descriptions.counts),
        skipped=dict(contents.skipped),
    )


def _with_splits(
    records: list[ClipRecord], root: Path, valid_share: float, previous: Sequence[ClipRecord], notes: list[str]
) -> tuple[list[ClipRecord], list[str]]:
    """The records with their splits, and the works that they are of."""
    names = [record.path.relative_to(root) for record in records]
    plain = Path(os.path.normpath(root))  # as the paths of the families
    families = [
        [clip.relative_to(plain) for clip in family if clip.is_relative_to(plain)] for family in read_families(root)
    ]
    works = works_of(names, [record.tags for record in records], valid_share, families)
    is_mixed = 0 < valid_share < 1
    if is_mixed and len(records) == 1:
        notes.append("there is only one clip: it is for training, and validation has none")
    elif is_mixed and len(set(works)) == 1:
        notes.append(
            f"all {len(works)} clips seem to be of one work by their names or tags, so both splits have clips of it, "
            f"and validation measures memorisation too; if they are not, give each its own 'work' in name.json"
        )
        works = [name.as_posix() for name in names]
    records, stated = _without_stated_splits(records, notes)
    earlier = {os.path.normpath(record.path): record.split for record in previous}
    before = [earlier.get(os.path.normpath(record.path)) for record in records]
    splits = split_works(works, valid_share, stated, before)
    moved = [str(name) for name, old, new in zip(names, before, splits, strict=True) if old not in (None, new)]
    if moved:
        notes.append(f"{len(moved)} clips moved between training and validation, first {moved[0]!r}")
    in_train = {work for work, split in zip(works, splits, strict=True) if split == "train"}
    if shared := sorted(in_train & {work for work, split in zip(works, splits, strict=True) if split == "valid"}):
        notes.append(f"{len(shared)} works are in both splits, by a description or an earlier scan: {shared[0]!r}")
    return [replace(record, split=split) for record, split in zip(records, splits, strict=True)], works


def _without_stated_splits(records: list[ClipRecord], notes: list[str]) -> tuple[list[ClipRecord], list[Split | None]]:
    """The records without the tag ``split``, and its values; one that is not a split stays a tag, with a note."""
    stated = [STATED_SPLITS.get(str(record.tags.get("split", "")).strip().lower()) for record in records]
    unknown = [
        record for record, split in zip(records, stated, strict=True) if split is None and "split" in record.tags
    ]
    if unknown:
        notes.append(
            f"{len(unknown)} clips have a split that is not one of {', '.join(STATED_SPLITS)}, which is ignored; "
            f"first {str(unknown[0].path)!r} with {unknown[0].tags['split']!r:.40}"
        )
    rest = [
        record
        if split is None
        else replace(record, tags={name: value for name, value in record.tags.items() if name != "split"})
        for record, split in zip(records, stated, strict=True)
    ]
    return rest, stated


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
