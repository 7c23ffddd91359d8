"""Divides clips into training and validation by work.

The works for validation are drawn by the hash of their names, up to the wanted number of clips and never by luck: two
or more works always give both parts. A clip that was assigned before keeps its part, and new clips of its work go with
it, so that no run is validated on what it, or a run before it, was trained on.
"""

import hashlib
import os
from collections.abc import Sequence

from descant.data.manifest import Split


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
