"""Divides clips into training and validation by work.

The works for validation are drawn by the hash of their names, up to the wanted number of clips and never by luck: two
or more works always give both parts. A clip that was assigned before keeps its part, and new clips of its work go with
it, so that no run is validated on what it, or a run before it, was trained on.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from descant.counted import counted
from descant.data.families import read_families
from descant.data.manifest import ClipRecord, Split
from descant.data.works import works_of

STATED_SPLITS: dict[str, Split] = {"train": "train", "training": "train", "valid": "valid", "validation": "valid"}
"""Values of a description's ``split``."""


def with_splits(
    records: list[ClipRecord], root: Path, valid_share: float, previous: Sequence[ClipRecord], notes: list[str]
) -> tuple[list[ClipRecord], list[str]]:
    """The records with their splits, and the names of the works that they are of.

    Clips of one work (``works.py``) are in the same split, and so are those of a family that a check has found
    (``families.py``). A clip's split is that of its description (``split``), else that of ``previous``, else drawn by
    the name of its work. If all clips seem to be of one work, they are split one by one.

    Args:
        root: the folder of the clips and of their families, an absolute path.
        previous: the records of an earlier scan.
        notes: gets a line for each likely mistake.

    Raises:
        DataError: the families cannot be read.
    """
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
        notes.append(f"{counted(len(moved), 'clip')} moved between training and validation, first {moved[0]!r}")
    in_train = {work for work, split in zip(works, splits, strict=True) if split == "train"}
    if shared := sorted(in_train & {work for work, split in zip(works, splits, strict=True) if split == "valid"}):
        both = counted(len(shared), "work is", "works are")
        notes.append(f"{both} in both splits, by a description or an earlier scan: {shared[0]!r}")
    return [replace(record, split=split) for record, split in zip(records, splits, strict=True)], works


def split_works(
    works: Sequence[str],
    valid_share: float,
    stated: Sequence[Split | None],
    before: Sequence[Split | None],
) -> list[Split]:
    """The part of each clip.

    If no work fits into the wanted number of clips, the smallest is taken. If a part would be empty only because of
    the earlier assignment, that is ignored. With a single work there is only training.

    Args:
        works: the name of each clip's work.
        valid_share: share of the clips for validation; 0 and 1 leave a part empty, in spite of ``before``.
        stated: the part of each clip as its description gives it, which always wins.
        before: the part of each clip in an earlier manifest.
    """
    if valid_share in (0, 1):
        return [own or ("train" if valid_share == 0 else "valid") for own in stated]
    parts = _drawn(works, valid_share, [own or earlier for own, earlier in zip(stated, before, strict=True)])
    if len(set(parts)) == 1 and any(before):
        return _drawn(works, valid_share, stated)
    return parts


def _drawn(works: Sequence[str], valid_share: float, fixed: Sequence[Split | None]) -> list[Split]:
    sizes: dict[str, int] = {}
    part_of: dict[str, Split] = {}
    for work, part in zip(works, fixed, strict=True):
        sizes[work] = sizes.get(work, 0) + 1
        # A work that is in both parts already grows in training only.
        if part is not None and part_of.get(work) != "train":
            part_of[work] = part
    wanted = min(max(1, round(valid_share * len(works))), len(works) - 1)
    num_valid = sum(part == "valid" for part in fixed)
    free = sorted((work for work in sizes if work not in part_of), key=_hash)
    for work in free:
        is_valid = num_valid + sizes[work] <= wanted
        part_of[work] = "valid" if is_valid else "train"
        num_valid += sizes[work] * is_valid
    if num_valid == 0 and free and len(sizes) > 1:
        part_of[min(free, key=lambda work: (sizes[work], _hash(work)))] = "valid"
    return [part or part_of[work] for work, part in zip(works, fixed, strict=True)]


def _hash(work: str) -> bytes:
    return hashlib.sha256(os.fsencode(work)).digest()


def _without_stated_splits(records: list[ClipRecord], notes: list[str]) -> tuple[list[ClipRecord], list[Split | None]]:
    """The records without the tag ``split``, and its values; one that is not a split stays a tag, with a note."""
    stated = [STATED_SPLITS.get(str(record.tags.get("split", "")).strip().lower()) for record in records]
    unknown = [
        record for record, split in zip(records, stated, strict=True) if split is None and "split" in record.tags
    ]
    if unknown:
        clips_have = counted(len(unknown), "clip has", "clips have")
        notes.append(
            f"{clips_have} a split that is not one of {', '.join(STATED_SPLITS)}, which is ignored; "
            f"first {str(unknown[0].path)!r} with {unknown[0].tags['split']!r:.40}"
        )
    rest = [
        record
        if split is None
        else replace(record, tags={name: value for name, value in record.tags.items() if name != "split"})
        for record, split in zip(records, stated, strict=True)
    ]
    return rest, stated
