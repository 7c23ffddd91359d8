"""What captions may say: the facts of a piece, the words for its tempo, the names that fit it."""

import re
from dataclasses import dataclass

from starter_corpus.instruments import PROGRAMS

_SLOW, _FAST = 80, 130


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is true of a piece and can be heard: ``instruments`` in order of importance, drums not among them.

    ``has_drums`` says that drums are heard throughout; ``is_drumless`` that there are none at all. Drums that come and
    go are neither, and no caption speaks of them.
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


def speed_words(bpm: float, metre: str) -> tuple[str, ...]:
    """Words for a tempo. Beats of three or four notes (6/8, 2/2) feel faster than the same number of quarters."""
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


# Words in the names of styles that promise a family of instruments.
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


def fitting_styles(facts: Facts) -> tuple[str, ...]:
    """The names of the style that promise no instrument that is not heard; the genre where none is left."""
    fitting = tuple(style for style in facts.styles if _is_kept(style, facts))
    return fitting or (spell_genre(facts.genre),)


def spell_genre(genre: str) -> str:
    """The genre as it is written in a sentence."""
    return "R&B" if genre == "r&b" else genre


def _is_kept(style: str, facts: Facts) -> bool:
    """Whether a name speaks only of what is heard: instruments, their number, and a tempo within reach."""
    words = style.lower()
    felt = _felt_bpm(facts.bpm, facts.metre)
    if (re.search(r"\b(slow|lazy)\b", words) and felt > 100) or (re.search(r"\bfast\b", words) and felt < 110):
        return False
    heard = {*facts.instruments, *facts.families, *(("drums",) if facts.has_drums else ())}
    for name in _NAMED:
        if re.search(rf"\b{name}\b", words):
            if name not in heard:
                return False
            words = words.replace(name, "")
    for family, hints in _FAMILY_WORDS.items():
        if any(hint in words for hint in hints) and family not in heard:
            return False
    if "solo" in words and (len(facts.instruments) != 1 or not facts.is_drumless):
        return False
    if re.search(r"\bduo\b", words) and (len(facts.instruments) != 2 or not facts.is_drumless):
        return False
    if "trio" in words and len(facts.instruments) + facts.has_drums != 3:
        return False
    return not ("quartet" in words and len(facts.instruments) + facts.has_drums != 4)
