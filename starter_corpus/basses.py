"""Bass lines: textures of single low notes (``textures.py``)."""

from collections.abc import Sequence

from starter_corpus.score import TICKS_PER_BEAT, Note
from starter_corpus.spans import Metre, Span, Texture, positions


def roots(spans: Sequence[Span], _metre: Metre) -> tuple[Note, ...]:
    """A bass that holds each root."""
    return tuple(Note(span.onset, span.length * 9 // 10, span.root(29), 88) for span in spans)


def eighths(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """A bass that repeats the root on every eighth: rock, punk, synth pop."""
    return tuple(
        Note(onset, metre.step_ticks * 4 // 5, span.root(29), 92 if onset % TICKS_PER_BEAT == 0 else 80)
        for span in spans
        for onset in positions(span, metre.step_ticks)
    )


def octaves(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """A bass that jumps from the beat to the octave between the beats: disco, house, trance."""
    return tuple(
        Note(onset, metre.step_ticks * 3 // 4, span.root(29) + (0 if onset % TICKS_PER_BEAT == 0 else 12), 90)
        for span in spans
        for onset in positions(span, metre.step_ticks)
    )


def two_feel(spans: Sequence[Span], _metre: Metre) -> tuple[Note, ...]:
    """A bass on root and fifth, two beats each."""
    return tuple(
        Note(onset, TICKS_PER_BEAT * 3 // 2, span.root(29) if count % 2 == 0 else span.fifth(29), 88)
        for span in spans
        for count, onset in enumerate(positions(span, 2 * TICKS_PER_BEAT))
    )


def syncopated(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """A bass with a hit before the third beat and an octave after it: funk, hip hop, reggae, latin."""
    quarter = TICKS_PER_BEAT // 4
    plan = {0: (0, 3), 6: (0, 2), 8: (0, 2), 11: (12, 1), 14: (7, 2)}
    notes = []
    for span in spans:
        for onset in positions(span, quarter):
            step = plan.get(onset % metre.bar_ticks // quarter)
            if step is not None:
                interval, length = step
                pitch = span.fifth(29) if interval == 7 else span.root(29) + interval
                notes.append(Note(onset, length * quarter * 9 // 10, pitch, 92))
    return tuple(notes)


def walking(spans: Sequence[Span], _metre: Metre) -> tuple[Note, ...]:
    """A bass that walks in quarters through the chord, and leaves it on the tone nearest to the next root."""
    notes = []
    for place, span in enumerate(spans):
        root, following = span.root(29), spans[(place + 1) % len(spans)].root(29)
        tones = [root + interval % 12 for interval in span.chord.intervals]
        beats = positions(span, TICKS_PER_BEAT)
        for count, onset in enumerate(beats):
            is_last = 0 < count == len(beats) - 1
            pitch = min(tones[1:], key=lambda tone: abs(tone - following)) if is_last else tones[count % len(tones)]
            notes.append(Note(onset, TICKS_PER_BEAT * 9 // 10, pitch, 90 if count == 0 else 82))
    return tuple(notes)


BASSES: dict[str, Texture] = {bass.__name__: bass for bass in (roots, eighths, octaves, two_feel, syncopated, walking)}
