"""Accompaniment textures: how one instrument plays a chord sequence.

A texture is a function from chords to notes. It is deterministic: a bar with the same chord is played the same way, so
that repeated bars are identical.
"""

from collections.abc import Callable, Sequence

from starter_corpus.basses import BASSES
from starter_corpus.score import TICKS_PER_BEAT, Note
from starter_corpus.spans import Metre, Span, Texture, positions


def block(spans: Sequence[Span], _metre: Metre) -> tuple[Note, ...]:
    """Whole chords, held."""
    return tuple(Note(span.onset, span.length - 20, pitch, 72) for span in spans for pitch in span.voicing)


def pulse(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """The chord on every beat, the first of the bar stressed."""
    return tuple(
        Note(onset, TICKS_PER_BEAT * 4 // 5, pitch, 84 if onset % metre.bar_ticks == 0 else 70)
        for span in spans
        for onset in positions(span, TICKS_PER_BEAT)
        for pitch in span.voicing
    )


def offbeat(spans: Sequence[Span], _metre: Metre) -> tuple[Note, ...]:
    """Short chords between the beats: reggae, ska, house."""
    half = TICKS_PER_BEAT // 2
    return tuple(
        Note(onset + half, half // 2, pitch, 80)
        for span in spans
        for onset in positions(span, TICKS_PER_BEAT)
        for pitch in span.voicing
    )


def backbeat(spans: Sequence[Span], _metre: Metre) -> tuple[Note, ...]:
    """Short chords on the second and fourth beat: slow reggae, shuffle, country."""
    return tuple(
        Note(onset, TICKS_PER_BEAT // 3, pitch, 80)
        for span in spans
        for onset in positions(span, TICKS_PER_BEAT)
        if onset // TICKS_PER_BEAT % 2 == 1
        for pitch in span.voicing
    )


def oompah(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """A bass note, then the chord on the following beats; in 6/8 on the third eighth of each beat."""
    notes = []
    for span in spans:
        for count, onset in enumerate(positions(span, TICKS_PER_BEAT)):
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
    spans: Sequence[Span], metre: Metre, shape: Callable[[Span], list[int]], *, hold: bool = False, speed: int = 1
) -> tuple[Note, ...]:
    step = metre.step_ticks // speed
    notes = []
    for span in spans:
        pitches = shape(span)
        for count, onset in enumerate(positions(span, step)):
            rest = span.onset + span.length - onset
            length = min(rest, 3 * step) if hold else step
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
        for onset in positions(span, step):
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
        for onset in positions(span, quarter)
        if onset % metre.bar_ticks // quarter in hits
        for pitch in span.voicing
    )


def sixteenths(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """Up and down through the chord and its octave at double speed: sequencers, minimal music."""

    def wave(span: Span) -> list[int]:
        up = [*span.voicing[:3], span.voicing[0] + 12]
        return up + up[-2:0:-1]

    return _broken(spans, metre, wave, speed=2)


def picking(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """A thumb on root and fifth in turn, and fingers between the beats: folk and country guitar."""
    notes = []
    for span in spans:
        for count, onset in enumerate(positions(span, TICKS_PER_BEAT)):
            bass = span.root(40) if count % 2 == 0 else span.fifth(40)
            notes.append(Note(onset, TICKS_PER_BEAT, bass, 84))
            if count % 2 == 0:
                notes.append(Note(onset, metre.step_ticks, span.voicing[-1], 72))
            for place in range(1, TICKS_PER_BEAT // metre.step_ticks):
                string = span.voicing[-1 - (count + place) % min(3, len(span.voicing))]
                notes.append(Note(onset + place * metre.step_ticks, metre.step_ticks, string, 70))
    return tuple(notes)


def chugs(spans: Sequence[Span], metre: Metre) -> tuple[Note, ...]:
    """Power chords in a riff of eighths, the rests between them short: rock, punk, metal."""
    held = {0: 2, 3: 1, 5: 2} if metre.beats_per_bar == 4 else {0: 2, 2: 1, 4: 1}
    notes = []
    for span in spans:
        for onset in positions(span, metre.step_ticks):
            count = onset % metre.bar_ticks // metre.step_ticks % 8
            root, steps = span.root(40), held.get(count, 1)
            velocity, length = (
                (98, steps * metre.step_ticks * 19 // 20) if count in held else (78, metre.step_ticks // 2)
            )
            pitches = (root, span.fifth(40), root + 12) if count in held else (root,)
            notes += [Note(onset, length, pitch, velocity) for pitch in pitches]
    return tuple(notes)


TEXTURES: dict[str, Texture] = BASSES | {
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
        sixteenths,
        wide,
        strum,
        picking,
        chugs,
        stabs,
    )
}
