"""Accompaniment textures: how one instrument plays a chord sequence.

A texture is a function from chords to notes. It is deterministic: a bar with the same chord is played the same way, so
that repeated bars are identical.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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


Texture = Callable[[Sequence[Span], Metre], tuple[Note, ...]]


def _positions(span: Span, every: int) -> range:
    return range(span.onset, span.onset + span.length, every)


def block(spans: Sequence[Span], _metre: Metre) -> tuple[Note, ...]:
    """Whole chords, held."""
    return tuple(Note(span.onset, span.length - 20, pitch, 72) for span in spans for pitch in span.voicing)


def pulse(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """The chord on every beat, the first of the bar stressed."""
    return tuple(
        Note(onset, TICKS_PER_BEAT * 4 // 5, pitch, 84 if onset % metre.bar_ticks == 0 else 70)
        for span in spans
        for onset in _positions(span, TICKS_PER_BEAT)
        for pitch in span.voicing
    )


def offbeat(spans: Sequence[Span], _metre: Metre) -> tuple[Note, ...]:
    """Short chords between the beats: reggae, ska, house."""
    half = TICKS_PER_BEAT // 2
    return tuple(
        Note(onset + half, half // 2, pitch, 80)
        for span in spans
        for onset in _positions(span, TICKS_PER_BEAT)
        for pitch in span.voicing
    )


def backbeat(spans: Sequence[Span], _metre: Metre) -> tuple[Note, ...]:
    """Short chords on the second and fourth beat: slow reggae, shuffle, country."""
    return tuple(
        Note(onset, TICKS_PER_BEAT // 3, pitch, 80)
        for span in spans
        for onset in _positions(span, TICKS_PER_BEAT)
        if onset // TICKS_PER_BEAT % 2 == 1
        for pitch in span.voicing
    )


def oompah(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """A bass note, then the chord on the following beats; in 6/8 on the third eighth of each beat."""
    notes = []
    for span in spans:
        for count, onset in enumerate(_positions(span, TICKS_PER_BEAT)):
            is_bass_beat = metre.is_compound or onset % metre.bar_ticks == 0 or count == 0
            is_bass_beat = is_bass_beat or (metre.beats_per_bar == 4 and count == 2)
            if is_bass_beat:
                bass = span.root(40) if count == 0 else span.fifth(36)
                notes.append(Note(onset, TICKS_PER_BEAT * 2 // 3, bass, 88))
            if metre.is_compound or not is_bass_beat:
                late = 2 * metre.step_ticks if metre.is_compound else 0
                notes += [Note(onset + late, metre.step_ticks * 4 // 5, pitch, 68) for pitch in span.voicing]
    return tuple(notes)


def alberti(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """Broken chords: low, high, middle, high; in 3/4: low, middle, high."""
    order = (0, 1, 2) if metre.is_compound else (0, 2, 1, 2)
    return _broken(spans, metre, lambda span: [span.voicing[min(i, len(span.voicing) - 1)] for i in order])


def arpeggio(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """Up and down through the chord and its octave."""

    def wave(span: Span) -> list[int]:
        up = [*span.voicing[:3], *(pitch + 12 for pitch in span.voicing[: 1 if metre.is_compound else 2])]
        return up + up[-2:0:-1]

    return _broken(spans, metre, wave)


def rising(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """Up through the chord over two octaves, repeatedly: trance, harp, music box."""
    return _broken(spans, metre, lambda span: [*span.voicing[:3], *(pitch + 12 for pitch in span.voicing[:1])])


def wide(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """Root, fifth, octave and tenth over the low half of the keyboard: a ballad's left hand."""

    def shape(span: Span) -> list[int]:
        root = span.root(36)
        third = root + 12 + span.chord.intervals[1] % 12
        up = [root, span.fifth(36), root + 12, third]
        return [*up[:3], third, root + 12, up[1]] if metre.is_compound else [*up, root + 12, third, root + 12, up[1]]

    return _broken(spans, metre, shape, hold=True)


def _broken(
    spans: Sequence[Span], metre: Metre, shape: Callable[[Span], list[int]], hold: bool = False
) -> tuple[Note, ...]:
    notes = []
    for span in spans:
        pitches = shape(span)
        for count, onset in enumerate(_positions(span, metre.step_ticks)):
            rest = span.onset + span.length - onset
            length = min(rest, 3 * metre.step_ticks) if hold else metre.step_ticks
            stress = 8 if count == 0 else 0
            notes.append(Note(onset, length, pitches[count % len(pitches)], 70 + stress))
    return tuple(notes)


def strum(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """A guitar's down, down-up, up-down-up strum; the strings are a hundredth of a beat apart."""
    step, per_beat = metre.step_ticks, 3 if metre.is_compound else 2
    down = {0, 2, 6} if not metre.is_compound else {0, 3}
    played = down | ({3, 5, 7} if not metre.is_compound else {2, 5})
    notes = []
    for span in spans:
        strings = (span.root(40), *span.voicing)
        for onset in _positions(span, step):
            count = onset % metre.bar_ticks // step
            if count % (4 * per_beat) in played or onset == span.onset:
                is_down = count % (4 * per_beat) in down or onset == span.onset
                order = strings if is_down else strings[:0:-1]
                length = step * 9 // 10
                notes += [
                    Note(onset + 12 * place, length, pitch, 80 if is_down else 64) for place, pitch in enumerate(order)
                ]
    return tuple(notes)


def stabs(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """Short syncopated chords: on the first beat, just before the second and just after the third."""
    quarter = TICKS_PER_BEAT // 4
    hits = (0, 3, 10) if metre.beats_per_bar == 4 else (0, 3)
    return tuple(
        Note(onset, quarter, pitch, 84)
        for span in spans
        for onset in _positions(span, quarter)
        if onset % metre.bar_ticks // quarter in hits
        for pitch in span.voicing
    )


def roots(spans: Sequence[Span], _metre: Metre) -> tuple[Note, ...]:
    """A bass that holds each root."""
    return tuple(Note(span.onset, span.length * 9 // 10, span.root(29), 88) for span in spans)


def eighths(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """A bass that repeats the root on every eighth: rock, punk, synth pop."""
    return tuple(
        Note(onset, metre.step_ticks * 4 // 5, span.root(29), 92 if onset % TICKS_PER_BEAT == 0 else 80)
        for span in spans
        for onset in _positions(span, metre.step_ticks)
    )


def octaves(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """A bass that jumps from the beat to the octave between the beats: disco, house, trance."""
    return tuple(
        Note(onset, metre.step_ticks * 3 // 4, span.root(29) + (0 if onset % TICKS_PER_BEAT == 0 else 12), 90)
        for span in spans
        for onset in _positions(span, metre.step_ticks)
    )


def two_feel(spans: Sequence[Span], _metre: Metre) -> tuple[Note, ...]:
    """A bass on root and fifth, two beats each."""
    return tuple(
        Note(onset, TICKS_PER_BEAT * 3 // 2, span.root(29) if count % 2 == 0 else span.fifth(29), 88)
        for span in spans
        for count, onset in enumerate(_positions(span, 2 * TICKS_PER_BEAT))
    )


def syncopated(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """A bass with a hit before the third beat and an octave after it: funk, hip hop, reggae, latin."""
    quarter = TICKS_PER_BEAT // 4
    plan = {0: (0, 3), 6: (0, 2), 8: (0, 2), 11: (12, 1), 14: (7, 2)}
    notes = []
    for span in spans:
        for onset in _positions(span, quarter):
            step = plan.get(onset % metre.bar_ticks // quarter)
            if step is not None:
                interval, length = step
                pitch = span.fifth(29) if interval == 7 else span.root(29) + interval
                notes.append(Note(onset, length * quarter * 9 // 10, pitch, 92))
    return tuple(notes)


TEXTURES: dict[str, Texture] = {
    texture.__name__: texture
    for texture in (
        block,
        pulse,
        offbeat,
        backbeat,
        oompah,
        alberti,
        arpeggio,
        rising,
        wide,
        strum,
        stabs,
        roots,
        eighths,
        octaves,
        two_feel,
        syncopated,
    )
}
