"""Chords: Roman numerals in any key, their names and their notes.

Upper case is major, lower case minor; ``b`` and ``#`` before a numeral lower and raise its root relative to the major
scale of the tonic, in minor keys too (``bVI`` in A minor is F).
"""

import re
from dataclasses import dataclass

from descant.errors import ConfigError

MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
MINOR_SCALE = (0, 2, 3, 5, 7, 8, 10)
KEY_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")

_NUMERALS = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
_NUMERAL = re.compile(r"([b#]?)(vii|iii|vi|iv|ii|i|v|VII|III|VI|IV|II|I|V)(.*)")
_INTERVALS = {
    "": (0, 4, 7),
    "m": (0, 3, 7),
    "7": (0, 4, 7, 10),
    "m7": (0, 3, 7, 10),
    "M7": (0, 4, 7, 11),
    "6": (0, 4, 7, 9),
    "m6": (0, 3, 7, 9),
    "9": (0, 4, 7, 10, 14),
    "m9": (0, 3, 7, 10, 14),
    "M9": (0, 4, 7, 11, 14),
    "m7b5": (0, 3, 6, 10),
    "dim7": (0, 3, 6, 9),
    "7b9": (0, 4, 7, 10, 13),
    "sus4": (0, 5, 7),
    "sus2": (0, 2, 7),
    "7sus": (0, 5, 7, 10),
    "5": (0, 7),
}


@dataclass(frozen=True)
class Chord:
    """A chord in a key: the pitch class of its root (0 is C) and its quality, as in a chord symbol."""

    root: int
    quality: str

    @property
    def symbol(self) -> str:
        """The chord's name, such as ``F#m7``."""
        return KEY_NAMES[self.root] + self.quality

    @property
    def intervals(self) -> tuple[int, ...]:
        """Semitones above the root."""
        return _INTERVALS[self.quality]

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        return tuple((self.root + interval) % 12 for interval in self.intervals)


def chord_of(numeral: str, tonic: int) -> Chord:
    """The chord of a Roman numeral in a key.

    Raises:
        ConfigError: if the numeral cannot be read.
    """
    match = _NUMERAL.fullmatch(numeral)
    if match is None:
        raise ConfigError(f"chord {numeral!r} is not a Roman numeral such as I, vi, bVII or iim7b5")
    accidental, degree, suffix = match.groups()
    is_minor = degree.islower()
    quality = suffix if not is_minor or suffix.startswith(("m", "dim")) else "m" + suffix
    if quality not in _INTERVALS:
        raise ConfigError(f"chord {numeral!r} has quality {quality!r}; known: {sorted(_INTERVALS)}")
    root = _NUMERALS[degree.lower()] + {"": 0, "b": -1, "#": 1}[accidental]
    return Chord((tonic + root) % 12, quality)


def scale_of(tonic: int, is_minor: bool) -> tuple[int, ...]:
    """The pitch classes of a key: major, or natural minor."""
    return tuple((tonic + step) % 12 for step in (MINOR_SCALE if is_minor else MAJOR_SCALE))


def key_name(tonic: int, is_minor: bool) -> str:
    """The key in words, such as ``Eb major``."""
    return f"{KEY_NAMES[tonic]} {'minor' if is_minor else 'major'}"
