"""Song forms: phrases of chords that return, and the chords of any stretch of the music that they make.

A phrase is written in C with a bar line between its bars, such as ``"C|Am|F G|C"``; chords that share a bar divide it
evenly, the later ones beginning on a beat.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

from descant.conditioning.chords import parse_chords
from descant.errors import ConfigError, InvalidRequest
from descant.tempo_key import NOTES

Bars: TypeAlias = tuple[tuple[str, ...], ...]
"""For each bar its chords."""

MAX_CHORDS_IN_BAR = 2
"""A bar has at least this many beats, or its chords begin between them."""
MAX_PHRASE_BARS = 64
_TOLERANCE_BEATS = 1e-3
"""Sections begin with frames and chords on beats: what differs by less is meant to be the same moment."""


@lru_cache(maxsize=4_096)
def bars_of(phrase: str) -> Bars:
    """The bars of a phrase.

    Raises:
        ConfigError: it cannot be read.
    """
    bars = tuple(tuple(bar.split()) for bar in phrase.split("|"))
    if len(bars) > MAX_PHRASE_BARS or not all(1 <= len(bar) <= MAX_CHORDS_IN_BAR for bar in bars):
        raise ConfigError(
            f"phrase {phrase!r:.60}: expected up to {MAX_PHRASE_BARS} bars of 1 to {MAX_CHORDS_IN_BAR} chords, such as "
            "'C|Am|F G|C'"
        )
    try:
        for bar in bars:
            parse_chords(" ".join(f"{symbol}:{place}" for place, symbol in enumerate(bar)))
    except InvalidRequest as error:
        raise ConfigError(f"phrase {phrase!r:.60}: {error}") from error
    return bars


def period_of(bars: Bars) -> int:
    """The number of bars after which a phrase repeats itself; all of them if it does not."""
    lengths = (length for length in range(1, len(bars)) if len(bars) % length == 0)
    return next((length for length in lengths if bars[length:] == bars[:-length]), len(bars))


def transposed(symbol: str, semitones: int) -> str:
    """A chord without a bass note, so much higher."""
    length = 2 if symbol[1:2] in ("#", "b") else 1
    (chord,) = parse_chords(f"{symbol}:0")
    return symbol if chord.root is None else NOTES[(chord.root + semitones) % 12] + symbol[length:]


@dataclass(frozen=True)
class SongForm:
    """Phrases in the order of ``letters``, which begin again at their end. A letter always has the same chords.

    Args:
        major, minor: the phrase of each letter in C major and in C minor; all have the same number of bars.
    """

    letters: str
    major: Mapping[str, Bars]
    minor: Mapping[str, Bars]

    def chords(self, first_beat: float, end_beat: float, beats_per_bar: float, key: int) -> list[tuple[float, str]]:
        """The chords in a key from one beat of the music to another, each with the beat at which it begins.

        Args:
            first_beat, end_beat: counted from the beginning of the music.
            key: as in ``TempoKey``.
        """
        begin = first_beat + _TOLERANCE_BEATS
        first_bar, end_bar = (math.floor(beat / beats_per_bar) for beat in (begin, end_beat))
        found: list[tuple[float, str]] = []
        for number in range(first_bar, max(first_bar, end_bar) + 1):
            bar = self._bar(number, is_minor=key >= 12)
            for place, symbol in enumerate(bar):
                beat = number * beats_per_bar + _beats_into_bar(place, len(bar), beats_per_bar)
                if beat <= begin:
                    found = [(first_beat, transposed(symbol, key % 12))]
                elif beat < end_beat - _TOLERANCE_BEATS:
                    found.append((beat, transposed(symbol, key % 12)))
        return found

    def _bar(self, number: int, *, is_minor: bool) -> tuple[str, ...]:
        phrases = self.minor if is_minor else self.major
        length = len(phrases[self.letters[0]])
        return phrases[self.letters[number // length % len(self.letters)]][number % length]


def _beats_into_bar(place: int, num_chords: int, beats_per_bar: float) -> float:
    exact = place * beats_per_bar / num_chords
    return exact if beats_per_bar < num_chords else float(math.floor(exact + 0.5))
