"""The form of a piece: phrases that return, their chords and cadences, and where it ends.

A phrase has 4 bars, 8, or as many as a longer chord progression. Its letter says what is played; a phrase that returns
is played again note by note, but for its cadence.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from starter_corpus.arrangement import LONGEST_S, SHORTEST_S
from starter_corpus.chords import Chord, chord_of

_FORMS = {
    1: ("A",),
    2: ("AA", "AB"),
    3: ("AAB", "ABA", "ABB"),
    4: ("AABA", "ABAB", "AABB", "ABAC"),
    5: ("AABAB", "ABACA", "AABBA"),
    6: ("AABBAA", "ABABCB", "AABABA", "ABACAB"),
    7: ("AABBACA", "ABABCAB"),
    8: ("AABBAABB", "AABACABA", "ABABCCAB"),
}
_ENDS_WITH_CADENCES = {"classical": 0.9, "folk": 0.8, "jazz": 0.7, "latin": 0.6, "blues": 0.3, "pop": 0.4, "rock": 0.3}


@dataclass(frozen=True, kw_only=True)
class Form:
    """Phrases by letter, each of ``phrase_bars``, and ``has_ending``: one more bar, in which a last chord rings.

    ``has_cadences``: phrases that are followed by the same letter end open, on the dominant, the others closed.
    """

    letters: str
    phrase_bars: int
    has_cadences: bool
    has_ending: bool

    @property
    def num_bars(self) -> int:
        """All bars, with that of the ending."""
        return len(self.letters) * self.phrase_bars + self.has_ending

    @property
    def phrases(self) -> tuple[tuple[str, bool], ...]:
        """For each phrase its letter and whether it is closed. The last one leads into the ending, if there is one."""
        last = len(self.letters) - 1
        closed = [
            not self.has_ending if place == last else self.letters[place + 1] != letter
            for place, letter in enumerate(self.letters)
        ]
        return tuple(zip(self.letters, closed, strict=True))


def draw_form(rng: random.Random, bar_s: float, progression_bars: int, family: str, ending_share: float) -> Form:
    """A random form of 22 to 46 seconds."""
    lengths = [8] if bar_s < 1.2 else [4, 8]
    if progression_bars in (8, 12, 16):
        lengths = [progression_bars]
    fitting = [bars for bars in lengths if 2 * bars * bar_s <= LONGEST_S - bar_s] or [4]
    phrase_bars = rng.choice(fitting)
    phrase_s = phrase_bars * bar_s
    counts = [count for count in _FORMS if SHORTEST_S <= count * phrase_s <= LONGEST_S - bar_s]
    return Form(
        letters=rng.choice(_FORMS[rng.choice(counts or [max(1, min(8, round(SHORTEST_S / phrase_s)))])]),
        phrase_bars=phrase_bars,
        has_cadences=rng.random() < _ENDS_WITH_CADENCES.get(family, 0.0),
        has_ending=rng.random() < ending_share,
    )


def phrase_chords(
    chords: Sequence[Sequence[Chord]], form: Form, is_closed: bool, tonic: int, is_minor: bool
) -> tuple[tuple[Chord, ...], ...]:
    """The chords of a phrase: the progression again and again and, in forms with cadences, one at its end.

    A closed phrase ends with the dominant and the tonic, an open one with the dominant.
    """
    repeated = [tuple(bar) for bar in chords] * -(-form.phrase_bars // len(chords))
    bars = repeated[: form.phrase_bars]
    if form.has_cadences:
        ending = (dominant(tonic), tonic_chord(tonic, is_minor)) if is_closed else (dominant(tonic),)
        bars[-len(ending) :] = [(chord,) for chord in ending]
    return tuple(bars)


def dominant(tonic: int) -> Chord:
    """The dominant seventh chord of a key."""
    return chord_of("V7", tonic)


def tonic_chord(tonic: int, is_minor: bool) -> Chord:
    """The tonic triad of a key."""
    return chord_of("i" if is_minor else "I", tonic)
