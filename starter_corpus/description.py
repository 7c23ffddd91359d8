"""What captions may say of a piece: its description, words for its tempo, and the style names that match it."""

import re
from dataclasses import dataclass

from starter_corpus.instruments import PROGRAMS

_SLOW, _FAST = 80, 130


@dataclass(frozen=True, kw_only=True)
class PieceDescription:
    """True and audible properties of a piece; ``instruments`` in order of importance, without drums.

    ``has_drums``: drums are audible throughout. ``is_drumless``: there are none at all. Drums that play only at times
    are neither, and no caption mentions them.
    """

    genre: str
    styles: tuple[str, ...]
    instruments: tuple[str, ...]
    families: tuple[str, ...]
    moods: tuple[str, ...]
    bpm: float
    key: str | None
    metre: str
    has_drums: bool
    is_drumless: bool


def tempo_words(bpm: float, metre: str) -> tuple[str, ...]:
    """Words for a tempo. Beats of three or four notes (6/8, 2/2) feel faster than as many quarters per minute."""
    felt = _felt_bpm(bpm, metre)
    if felt < 66:
        return ("very slow", "slow")
    if felt < _SLOW:
        return ("slow",)
    if felt < 112:
        return ("mid-tempo", "moderate")
    if felt < _FAST:
        return ("mid-tempo", "upbeat")
    return ("fast", "up-tempo") if felt < 165 else ("fast", "very fast")


def _felt_bpm(bpm: float, metre: str) -> float:
    return bpm * (1.3 if metre in ("2/2", "6/8", "9/8") else 1.0)


# Words in style names that imply a family of instruments.
_FAMILY_WORDS = {
    "piano": ("piano", "nocturne", "ragtime piano"),
    "guitar": ("guitar", "strummed", "fingerpicked"),
    "strings": ("string",),
    "accordion": ("accordion",),
    "brass": ("brass", "horns"),
    "wind": ("flute", "clarinet", "saxophone"),
    "harp": ("harp", "koto"),
    "choir": ("choir",),
    "organ": ("organ",),
    "bass": ("bass and", "and bass", "slap bass"),
    "synth": ("synth",),
    "drums": ("beat",),
}
_NAMED = sorted({instrument.name for instrument in PROGRAMS.values()}, key=len, reverse=True)


def matching_styles(piece: PieceDescription) -> tuple[str, ...]:
    """The style names that imply no inaudible instrument; the genre if none is left."""
    return tuple(style for style in piece.styles if _matches(style, piece)) or (spell_genre(piece.genre),)


def spell_genre(genre: str) -> str:
    """The genre as written in a sentence."""
    return "R&B" if genre == "r&b" else genre


def _matches(style: str, piece: PieceDescription) -> bool:
    """Whether a style name implies only audible instruments, their number, and a similar tempo."""
    words = style.lower()
    felt = _felt_bpm(piece.bpm, piece.metre)
    if (re.search(r"\b(slow|lazy)\b", words) and felt > 100) or (re.search(r"\bfast\b", words) and felt < 110):
        return False
    audible = {*piece.instruments, *piece.families, *(("drums",) if piece.has_drums else ())}
    for name in _NAMED:
        if re.search(rf"\b{name}\b", words):
            if name not in audible:
                return False
            words = words.replace(name, "")
    for family, hints in _FAMILY_WORDS.items():
        if any(hint in words for hint in hints) and family not in audible:
            return False
    if "solo" in words and (len(piece.instruments) != 1 or not piece.is_drumless):
        return False
    if re.search(r"\bduo\b", words) and (len(piece.instruments) != 2 or not piece.is_drumless):
        return False
    if "trio" in words and len(piece.instruments) + piece.has_drums != 3:
        return False
    return not ("quartet" in words and len(piece.instruments) + piece.has_drums != 4)
