"""The tempo and the key that a text states."""

import re
from dataclasses import dataclass

SLOWEST_BPM, FASTEST_BPM = 30.0, 300.0
"""What is read as a tempo; a number outside is taken for something else."""

# A number that is no part of a longer one.
_NUMBER = r"(?<![\d.,])(\d+(?:\.\d+)?)(?![.,]?\d)"
_TEMPO = re.compile(rf"{_NUMBER}[\s-]*(?:bpm|beats per minute)\b|\b(?:bpm\s*[:=]?|tempo\s*[:=]|tempo of)\s*{_NUMBER}")
# "A minor" in "A minor key", or at the beginning of a sentence, is an article more likely than a tonic.
_KEY = re.compile(
    r"(?<![\w&])(?:([B-G])|(?:(?<=in )|(?<=key of )|(?<=key: )|(?<=, ))(A)|(A)(?=[\s-]?(?:#|♯|b\b|♭|(?i:sharp|flat)))|"
    r"(A)(?=[\s-]?(?i:maj(?:or)?|min(?:or)?)(?:[.,;]|$)))"
    r"(?:[\s-]?(#|♯|b\b|♭|(?i:sharp|flat)))?[\s-]*((?i:maj(?:or)?|min(?:or)?))\b"
)
_MODE = re.compile(r"\b(major|minor)\b")
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SHIFTS = {"": 0, "#": 1, "♯": 1, "sharp": 1, "b": -1, "♭": -1, "flat": -1}
NUM_KEYS = 24
"""Twelve tonics in two modes."""


@dataclass(frozen=True)
class TempoKey:
    """What a text states.

    Args:
        key: the tonic's semitones above C, 12 more where the mode is minor.
        is_minor: the mode, which may be stated without a tonic.
    """

    bpm: float | None = None
    key: int | None = None
    is_minor: bool | None = None


def parse_tempo_key(text: str | None) -> TempoKey:
    """The first tempo and the first key of a text. A tonic is a capital letter: "a major hit" states a mode only."""
    if text is None:
        return TempoKey()
    numbers = (float(before or after) for before, after in _TEMPO.findall(text.lower()))
    bpm = next((number for number in numbers if SLOWEST_BPM <= number <= FASTEST_BPM), None)
    found = _KEY.search(text)
    if found is None:
        mode = _MODE.search(text.lower())
        return TempoKey(bpm=bpm, is_minor=None if mode is None else mode[1] == "minor")
    *letters, accidental, mode_name = found.groups(default="")
    is_minor = mode_name.lower().startswith("min")
    tonic = (_SEMITONES["".join(letters)] + _SHIFTS[accidental.lower()]) % 12
    return TempoKey(bpm=bpm, key=tonic + 12 * is_minor, is_minor=is_minor)
