"""Which clips are of one work, so that no work is in both the training and the validation part.

Clips are of one work if any of these is equal (upper case and lower case are the same):

- the ``work`` that a description gives them; such a clip is compared by nothing else;
- title and artist, or title and album;
- the folder and the name, apart from the suffix and from words behind it for a version, a part or an instrument
  (``song.mp3``, ``song (live).wav``, ``song part 2.wav``, ``song - drums.wav``); files that are named after
  instruments alone (``drums.wav``, ``01 bass.wav``) are of the work of their folder;
- the folder and the name up to a number, if the files are numbered as slices are, from 0 or with three digits
  (``forest_000.wav``, ``forest_001.wav``), unless all clips would be of one work then;
- they are of one family (``families.py``), that is of the same recording, whatever a description says;
- the folder, if there are so many that a share of them can be kept for validation.
"""

import re
import unicodedata
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

VERSIONS = frozenset(
    [
        *("acapella", "acoustic", "alternate", "demo", "edit", "extended", "final", "instrumental", "karaoke", "live"),
        *("master", "mastered", "mono", "original", "radio", "remaster", "remastered", "remix", "stereo", "version"),
    ]
)
PARTS = frozenset({"chunk", "part", "pt", "section", "segment", "slice", "take"})
INSTRUMENTS = frozenset(
    [
        *("accompaniment", "bass", "brass", "choir", "drum", "drums", "guitar", "guitars", "keys", "lead", "mix"),
        *("mixture", "other", "others", "pad", "percussion", "piano", "stem", "stems", "strings", "synth"),
        *("vocal", "vocals", "vox"),
    ]
)

Key = tuple[Hashable, ...]


def works_of(
    paths: Sequence[Path],
    tags: Sequence[dict[str, Any]],
    valid_share: float,
    families: Sequence[Sequence[Path]] = (),
) -> list[str]:
    """The work of each clip: the first of the paths of its clips, in their order.

    Args:
        paths: of the clips, below the folder that was scanned.
        valid_share: the share of the clips that is to be kept for validation.
        families: the paths of clips of the same recording.
    """
    family_of = {path: ("family", number) for number, family in enumerate(families) for path in family}
    keys = [_keys(path, of_clip) for path, of_clip in zip(paths, tags, strict=True)]
    folders = {path.parent for path in paths}
    if valid_share > 0 and len(folders) * valid_share >= 1:
        keys = [own if "work" in of_clip else [*own, ("folder", path.parent)]
                for own, path, of_clip in zip(keys, paths, tags, strict=True)]  # fmt: skip
    keys = [[*own, family_of[path]] if path in family_of else own for own, path in zip(keys, paths, strict=True)]
    sliced = _joined([own + sliced for own, sliced in zip(keys, _slices(paths, tags), strict=True)])
    chosen = sliced if len(set(sliced)) > 1 else _joined(keys)
    return [paths[first].as_posix() for first in chosen]


def _keys(path: Path, tags: dict[str, Any]) -> list[Key]:
    """What a clip has in common with the other clips of its work, without slices and folders."""
    if "work" in tags:
        return [("work", _folded(tags["work"]))]
    keys: list[Key] = [("name", path.parent, _name(path.stem))]
    title = _folded(tags.get("title", ""))
    for name in ("artist", "album"):
        if title and (of_title := _folded(tags.get(name, ""))):
            keys.append((name, of_title, title))
    return keys


def _name(stem: str) -> str:
    """A file's name without the words behind it for a version, a part or an instrument; "" if it is an instrument."""
    words = re.findall(r"[^\W_]+", _folded(stem))
    rest = list(words)
    while rest and (rest[-1] in VERSIONS | PARTS | INSTRUMENTS or _is_numbered_part(rest)):
        rest.pop()
    if all(word.isdecimal() for word in rest) and any(word in INSTRUMENTS for word in words):
        return ""
    return " ".join(rest or words) or _folded(stem)


def _is_numbered_part(words: list[str]) -> bool:
    return len(words) > 1 and words[-1].isdecimal() and words[-2] in PARTS


def _slices(paths: Sequence[Path], tags: Sequence[dict[str, Any]]) -> list[list[Key]]:
    """For each clip that seems to be a slice of a recording, what it has in common with the other slices."""
    matches = [re.fullmatch(r"(.*?\D)(\d+)", path.stem) for path in paths]
    series = [None if match is None else (path.parent, match[1]) for path, match in zip(paths, matches, strict=True)]
    of_slices = {
        name
        for name, match in zip(series, matches, strict=True)
        if match is not None and (len(match[2]) >= 3 or int(match[2]) == 0)
    }
    return [
        [("slices", *name)] if name is not None and name in of_slices and "work" not in of_clip else []
        for name, of_clip in zip(series, tags, strict=True)
    ]


def _joined(keys: Sequence[Sequence[Key]]) -> list[int]:
    """For each clip the first one that it is connected to by equal keys."""
    first_of = list(range(len(keys)))

    def root(clip: int) -> int:
        while first_of[clip] != clip:
            first_of[clip] = first_of[first_of[clip]]
            clip = first_of[clip]
        return clip

    owner: dict[Key, int] = {}
    for clip, of_clip in enumerate(keys):
        for key in of_clip:
            one, other = sorted((root(clip), root(owner.setdefault(key, clip))))
            first_of[other] = one
    return [root(clip) for clip in range(len(keys))]


def _folded(value: Any) -> str:
    """A text for comparison: the same in upper and lower case, and however its accents and spaces are written."""
    text = value if isinstance(value, str) else str(value)
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
