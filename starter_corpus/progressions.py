"""Chord progressions by family of music, some of them held out.

A bar is one Roman numeral (``V7``) or two of half a bar each (``ii7/V7``).
"""

import hashlib
from dataclasses import dataclass

from starter_corpus.chords import Chord, chord_of


@dataclass(frozen=True)
class Progression:
    """A chord sequence: the family of music it belongs to, its mode, and one or two numerals per bar."""

    family: str
    is_minor: bool
    bars: tuple[tuple[str, ...], ...]

    @property
    def name(self) -> str:
        """The progression as one word, which also determines its split."""
        return "-".join("/".join(bar) for bar in self.bars)

    def in_key(self, tonic: int) -> tuple[tuple[Chord, ...], ...]:
        """The chords of each bar with ``tonic`` (0 is C) as the tonic."""
        return tuple(tuple(chord_of(numeral, tonic) for numeral in bar) for bar in self.bars)


# Each line begins with M (major) or m (minor).
_FAMILIES = {
    "pop": """
M I V vi IV
M I vi IV V
M vi IV I V
M I IV vi V
M IV I V vi
M I iii IV V
M I IV I V
M I V IV IV
M I ii IV V
M IV V I vi
M I IVM7
M I V/vi IV
M IV V iii vi
M I iii vi IV
M I V vi iii IV I IV V
M I I IV V I I IV V
M I vi ii V I vi ii V
M vi V IV V
M I bVII IV I
M IVM7 V6 iii7 vi7
M I Vsus4 vi7 IV
m i bVI bIII bVII
m i bVII bVI bVII
m i iv bVI V
m i bVI iv V
m i bIII bVII iv
m i v bVI bVII
m i iv i V
m i bVII bVI V
m i bIII bVI bVII
m i i bVI bVII
m iv i bVII bIII
m i bVI
m i iv
m i bVII iv bVI i bVII bVI V
""",
    "rock": """
M I bVII IV I
M I IV V IV
M I IV bVII IV
M I V IV V
M I bIII IV I
M I I IV I
M I bVII bVI bVII
M I IV
M I bVII
M I I IV IV V V I V
M I V bVII IV
M IV I V I
m i bVII bVI bVII
m i bVI bVII i
m i bIII bVII IV
m i iv bVII i
m i bVII
m i bVI
m i i bVI bVII
m i iv v i
m i bIII iv bVI
m i i iv iv bVI bVII i i
m i bVII iv V
""",
    "blues": """
M I7 I7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7
M I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7
M I7 IV7 I7 I7 IV7 IV7 I7 VI7 ii7 V7 I7 V7
M I7 I7 IV7 IV7 I7 V7 I7 V7
M I7 IV7 I7 V7
M I7 V7 IV7 IV7 I7 V7 I7 V7
M I7 I7 I7 I7 IV7 IV7 I7 I7 V7 V7 I7 I7
M I7 I7 IV7 I7
M I7 IV7
m i7 i7 i7 i7 iv7 iv7 i7 i7 bVI7 V7 i7 V7
m i7 iv7 i7 i7 iv7 iv7 i7 i7 iim7b5 V7 i7 V7
m i7 iv7 i7 V7
m i7 i7 iv7 i7
""",
    "jazz": """
M ii7 V7 IM7 IM7
M IM7 vi7 ii7 V7
M iii7 vi7 ii7 V7
M IM7 VI7 ii7 V7
M I6 VI7 II7 V7
M ii7 V7 iii7 VI7 ii7 V7 IM7 IM7
M IM7 IVM7 iii7 VI7 ii7 V7 IM7 V7
M IM7 ii7/V7 IM7 ii7/V7
M IM7 I7 IVM7 ivm6 IM7 VI7 ii7 V7
M IM7 iv7 bVII7 IM7 VI7 ii7 V7 IM7
M I6 #idim7 ii7 V7
M ii7 V7 I6 VI7
M IM7 IM7 ii7 V7 iii7 VI7 ii7/V7 I6
M IVM7 iii7 ii7 IM7
M IM7 II7 ii7 V7
M I6/vi7 ii7/V7
m i7 iim7b5 V7 i7
m iim7b5 V7b9 i6 i6
m i7 iv7 bVII7 bIIIM7 bVIM7 iim7b5 V7b9 i6
m i6 i6 iim7b5 V7b9
m i7 bVI7 iim7b5 V7
m i7 IV7
m iv7 bVII7 bIIIM7 bVIM7 iim7b5 V7 i7 i7
m i7 bVII7 bVIM7 V7
""",
    "latin": """
M IM7 ii7 V7 IM7
M IM7 IM7 II7 II7 ii7 V7 IM7 V7
M I6 I6 ii7 V7
M ii7 V7 IM7 VI7
M IM7 #idim7 ii7 V7
M I V7 V7 I
M I IV V7 IV
M I IV V IV
M I V7
M IM7 vi7 ii7 V7
M I I V7 V7 V7 V7 I I
M IM7 IVM7
M ii7 V7
m i iv V7 i
m i V7 V7 i
m i bVII bVI V7
m i7 iim7b5 V7b9 i7
m i7 iv7 V7b9 i7
m i iv i V7
m i i iv iv V7 V7 i i
m i7 IV7
m iim7b5 V7b9 i7 i7
m i7 iv7 bVII7 bIIIM7
m i V7
""",
    "folk": """
M I IV I V
M I I IV V
M I V I IV
M I IV V I
M I I V V I I V I
M I IV I V I IV V I
M I V vi IV
M I ii V I
M I V I V
M I I IV I I I V V
M I IV I I I IV V I
M I bVII I V
M IV I V I
M I vi IV I
m i bVII i bVII
m i bVII bVI V
m i iv i v
m i bVII bIII bVII
m i i bVII bVII i i bVII i
m i bIII bVII i
m i iv bVII i
m i v i bVII
""",
    "classical": """
M I V vi iii IV I IV V
M I IV V I
M I vi ii V
M I V I IV ii V I I
M I IV I V
M I V/vi IV V
M I iii vi IV ii V I I
M I vi IV ii V V I I
M I V7 I V7
M I ii V7 I
M I IV ii V7
M I V vi IV ii V I V
m i iv V i
m i V i iv
m i bVI iv V
m i bVII bIII bVI iv V i i
m i iv bVII bIII bVI iim7b5 V i
m i V bVI iv
m i bVI bIII V
m i iim7b5 V i
m i v bVI bIII iv i V V
m i iv i V7
m i bIII iv V
""",
    "electronic": """
m i bVI bIII bVII
m i i bVI bVII
m i bVII bVI bVII
m i bVI
m i bIII
m i iv
m i i i bVII
m i7 iv7
m i bVI iv v
m i7 bVIM7
m i bIII bVII iv
m bVI bVII i i
m bVI bVII i bIII
m i v bVI iv
M I V vi IV
M vi IV I V
M IVM7 V vi7 vi7
M IVM7 IM7
M I I IV IV
M I ii7 IV IV
M IM7 IVM7
""",
    "funk": """
M I7 IV7
M I7 I7 IV7 IV7
M I9 IV9
M I7 I7
M I7 bVII
M I7 bIII IV7 I7
M ii7 V7
M I9 I9 IV9 V9
m i7 IV7
m i7 i7
m i7 iv7
m i9 IV9
m i7 bVII
m i7 i7 bVI7 V7
m i7 i7 iv7 V7
m i7 bIII IV7 bVI7
""",
}


def _read_families() -> dict[str, tuple[Progression, ...]]:
    families = {}
    for family, text in _FAMILIES.items():
        lines = [line.split() for line in text.strip().splitlines()]
        families[family] = tuple(
            Progression(family, mode == "m", tuple(tuple(bar.split("/")) for bar in bars)) for mode, *bars in lines
        )
    return families


FAMILIES = _read_families()


def _rank(progression: Progression) -> str:
    return hashlib.sha256(progression.name.encode()).hexdigest()


def _valid_names() -> frozenset[str]:
    """The progression with the lowest hash of each family and mode; it is held out in every family."""
    names = set()
    for progressions in FAMILIES.values():
        for is_minor in (False, True):
            names.add(min((p for p in progressions if p.is_minor == is_minor), key=_rank).name)
    return frozenset(names)


VALID_PROGRESSIONS = _valid_names()


def progressions(family: str, *, is_minor: bool, split: str, max_bars: int = 16) -> tuple[Progression, ...]:
    """The progressions of a family and mode that a split may use, at most ``max_bars`` bars long."""
    return tuple(
        progression
        for progression in FAMILIES[family]
        if progression.is_minor == is_minor
        and (progression.name in VALID_PROGRESSIONS) == (split == "valid")
        and len(progression.bars) <= max_bars
    )
