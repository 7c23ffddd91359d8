"""Chords for texts that leave them open: phrases of a model's training corpus, as likely as the words make them.

A log-linear model over the words of a text. With ``f`` for what ``features_of`` says of a phrase::

    p(phrase | text, mode) ~ exp(c[phrase] + f(phrase) . (sum over words of w[word]))
    p(chords | text)       = sigmoid(c + sum over words of h[word])

A phrase that follows another one in a song form is less likely the less it resembles that one in ``f``. A word that the
corpus does not have changes nothing. ``recipes/starter_prior.py`` fits the tables.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Float

from descant.conditioning.chords import Chord, parse_chords
from descant.conditioning.song_form import Bars, SongForm, bars_of, period_of
from descant.conditioning.tempo_key_prior import pick, softmax, words_of
from descant.errors import ConfigError

FORMS = ("AABA", "AABB", "ABAB", "ABAC")
LONG_CHORD_S = 4.0
"""A phrase is less likely by a nat for each second that its longest chord lasts longer."""
LIKENESS = 4.0
"""The nats by which a phrase that follows another one is less likely for each unit of distance in features."""
NUM_FEATURES = 4
_STREAM = 0x63686F726473  # "chords"


@lru_cache(maxsize=4_096)
def features_of(phrase: str) -> tuple[float, ...]:
    """The shares of a phrase's chords that have more than three notes, that are the dominant, that are another dominant
    seventh chord, and whose root is Eb, Ab or Bb, as far as the phrase is in C.
    """
    chords = [parse_chords(f"{symbol}:0")[0] for bar in bars_of(phrase) for symbol in bar]
    counts = (
        sum(len(chord.pitches) > 3 for chord in chords),
        sum(chord.root == 7 for chord in chords),
        sum(chord.root != 7 and _is_dominant_seventh(chord) for chord in chords),
        sum(chord.root in (3, 8, 10) for chord in chords),
    )
    return tuple(count / len(chords) for count in counts)


@dataclass(frozen=True, kw_only=True)
class ChordPrior:
    """The tables of the model; all weights are natural logarithms.

    Args:
        major, minor: the weight of each phrase (``song_form.bars_of``) in C major and in C minor.
        chords_weight: the log-odds of chords.
        words: by word a weight for each feature, and the log-odds of chords.
    """

    major: dict[str, Any]
    minor: dict[str, Any]
    chords_weight: float
    words: dict[str, Any]

    def __post_init__(self) -> None:
        for name, phrases in (("major", self.major), ("minor", self.minor)):
            if not phrases:
                raise ConfigError(f"{name}: at least one phrase")
            for phrase, weight in phrases.items():
                bars_of(phrase)
                if not _are_numbers([weight]):
                    raise ConfigError(f"{name}: {phrase!r:.60} needs a number, not {weight!r:.20}")
        for word, weights in self.words.items():
            if not isinstance(weights, list) or len(weights) != NUM_FEATURES + 1 or not _are_numbers(weights):
                raise ConfigError(f"words: {word!r:.60} needs {NUM_FEATURES + 1} numbers")

    def draw(self, text: str, seed: int, bar_s: float, loop_bars: int | None = None) -> SongForm | None:
        """The chords of music of any length for a text, drawn at random; None if it is likelier to have none.

        Args:
            bar_s: seconds of a bar; chords change more often in long ones.
            loop_bars: of music that is repeated: its chords come back to the first one after so many bars.
        """
        if self.chords_probability(text) < 0.5:
            return None
        # A generator of its own, as for tempo and key.
        uniform = np.random.Generator(np.random.Philox(key=[seed, _STREAM])).random((3, 3))
        letters = FORMS[int(uniform[0, 0] * len(FORMS))]
        major, minor = (
            self._drawn(text, bar_s, loop_bars, phrases, sorted(set(letters)), draws)
            for phrases, draws in ((self.major, uniform[1]), (self.minor, uniform[2]))
        )
        return SongForm(letters, major, minor)

    def phrase_distribution(
        self, text: str, phrases: Sequence[str], weights: Sequence[float], bar_s: float
    ) -> Float[np.ndarray, " phrases"]:
        """The probability of each of some phrases, whose weights are given."""
        slopes = self._sum_of_words(text)[:NUM_FEATURES]
        longest_s = np.array([longest_chord_bars(bars_of(phrase)) * bar_s for phrase in phrases])
        features = np.array([features_of(phrase) for phrase in phrases])
        return softmax(np.array(weights) + features @ slopes - (longest_s - LONG_CHORD_S).clip(min=0))

    def chords_probability(self, text: str) -> float:
        """The probability of any chords."""
        return 1 / (1 + math.exp(-self.chords_weight - self._sum_of_words(text)[NUM_FEATURES]))

    def _drawn(
        self,
        text: str,
        bar_s: float,
        loop_bars: int | None,
        table: dict[str, Any],
        letters: Sequence[str],
        uniform: Float[np.ndarray, " draws"],
    ) -> dict[str, Bars]:
        """A phrase for each letter, all with the same number of bars; a letter for which no other one is left has that
        of the first."""
        phrases = [phrase for phrase in table if loop_bars is None or loop_bars % period_of(bars_of(phrase)) == 0]
        drawn: dict[str, str] = {}
        for letter, draw in zip(letters, uniform, strict=False):
            before = list(drawn.values())
            others = [phrase for phrase in phrases or table if all(_differ(phrase, one) for one in before)]
            if others:
                weights = [
                    table[phrase] - LIKENESS * sum(_distance(phrase, one) for one in before) for phrase in others
                ]
                drawn[letter] = others[pick(self.phrase_distribution(text, others, weights, bar_s), draw)]
            else:
                drawn[letter] = before[0]
        return {letter: bars_of(phrase) for letter, phrase in drawn.items()}

    def _sum_of_words(self, text: str) -> Float[np.ndarray, " weights"]:
        known = [self.words[word] for word in words_of(text) if word in self.words]
        return np.sum([np.zeros(NUM_FEATURES + 1), *known], axis=0)


@lru_cache(maxsize=4_096)
def longest_chord_bars(bars: Bars) -> float:
    """For how many bars the longest chord of a phrase lasts."""
    lengths = [(symbol, 1 / len(bar)) for bar in bars for symbol in bar]
    runs = groupby(lengths, key=lambda chord: chord[0])
    return max(sum(length for _, length in run) for _, run in runs)


def _differ(phrase: str, other: str) -> bool:
    """Whether two phrases have the same number of bars, and other chords in at least half of them."""
    bars, other_bars = bars_of(phrase), bars_of(other)
    differences = sum(bar != other_bar for bar, other_bar in zip(bars, other_bars, strict=False))
    return len(bars) == len(other_bars) and 2 * differences >= len(bars)


def _distance(phrase: str, other: str) -> float:
    return sum(abs(a - b) for a, b in zip(features_of(phrase), features_of(other), strict=True))


def _is_dominant_seventh(chord: Chord) -> bool:
    return chord.root is not None and {(chord.root + interval) % 12 for interval in (4, 10)} <= chord.pitches


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and math.isfinite(value) for value in values)
