"""Chords in time: the metre of a piece, and each chord with its onset, length and voicing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from starter_corpus.chords import Chord
from starter_corpus.score import TICKS_PER_BEAT, Note

Bars = Sequence[Sequence[Chord]]


@dataclass(frozen=True, kw_only=True)
class Metre:
    """The beats per bar, and whether a beat is divided into three (6/8) instead of two."""

    beats_per_bar: int
    is_compound: bool = False

    @property
    def bar_ticks(self) -> int:
        return self.beats_per_bar * TICKS_PER_BEAT

    @property
    def step_ticks(self) -> int:
        """The eighth note: half a beat, or a third of a compound one."""
        return TICKS_PER_BEAT // (3 if self.is_compound else 2)


@dataclass(frozen=True)
class Span:
    """A chord with its onset and length in ticks; ``voicing`` is its MIDI keys near the texture's centre, ascending."""

    chord: Chord
    onset: int
    length: int
    voicing: tuple[int, ...]

    def root(self, lowest: int) -> int:
        """The root in the octave that starts at ``lowest``."""
        return lowest + (self.chord.root - lowest) % 12

    def fifth(self, lowest: int) -> int:
        """The fifth of the chord, or the tone in its place, above ``root(lowest)``."""
        return self.root(lowest) + (self.chord.intervals[1 if len(self.chord.intervals) == 2 else 2])


def spans_of(bars: Bars, metre: Metre, centre: int = 60) -> tuple[Span, ...]:
    """The chords of the bars with their times, voiced close to the MIDI key ``centre``."""
    spans = []
    for number, bar in enumerate(bars):
        edges = [round(position * metre.beats_per_bar / len(bar)) * TICKS_PER_BEAT for position in range(len(bar) + 1)]
        for chord, start, end in zip(bar, edges, edges[1:], strict=False):
            spans.append(Span(chord, number * metre.bar_ticks + start, end - start, _voicing(chord, centre)))
    return tuple(spans)


def _voicing(chord: Chord, centre: int) -> tuple[int, ...]:
    lowest = centre - 6
    return tuple(sorted(lowest + (pitch_class - lowest) % 12 for pitch_class in dict.fromkeys(chord.pitch_classes)))


def positions(span: Span, every: int) -> range:
    """The ticks of a chord, ``every`` so many."""
    return range(span.onset, span.onset + span.length, every)


Texture: TypeAlias = Callable[[Sequence[Span], Metre], tuple[Note, ...]]
"""How one instrument plays chords."""
