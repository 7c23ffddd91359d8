"""Melodies by a few simple rules: recurring rhythms, chord tones on beats, stepwise motion between them."""

import random
from collections.abc import Sequence

from starter_corpus.score import TICKS_PER_BEAT, Note
from starter_corpus.spans import Metre, Span

_Rhythms = dict[str, dict[int, tuple[tuple[int, ...], ...]]]

# Rhythms of one bar in sixths of a beat (so that thirds and halves are whole); a negative number is a rest.
_SIMPLE: _Rhythms = {
    "calm": {
        4: ((12, 6, 6), (18, 6), (12, 12), (6, 6, 12), (24,), (9, 3, 12), (6, 12, 6), (-6, 6, 12)),
        3: ((12, 6), (6, 6, 6), (18,), (9, 3, 6), (6, 12)),
        2: ((6, 6), (12,), (9, 3)),
        5: ((12, 6, 12), (18, 12), (6, 12, 12)),
    },
    "moving": {
        4: (
            (6, 3, 3, 6, 6),
            (3, 3, 6, 6, 6),
            (9, 3, 6, 6),
            (6, 6, 3, 3, 6),
            (3, 6, 3, 6, 6),
            (-3, 3, 6, 3, 3, 6),
            (9, 3, 12),
            (3, 3, 3, 3, 12),
            (6, 3, 6, 3, 6),
        ),
        3: ((6, 6, 3, 3), (9, 3, 6), (6, 3, 3, 6), (3, 3, 6, 6), (12, 3, 3)),
        2: ((6, 3, 3), (3, 3, 6), (9, 3), (3, 3, 3, 3)),
        5: ((6, 3, 3, 6, 12), (9, 3, 6, 6, 6), (6, 6, 6, 3, 3, 6)),
    },
}
_COMPOUND: _Rhythms = {
    "calm": {2: ((6, 6), (12,), (4, 2, 6), (6, 4, 2))},
    "moving": {2: ((4, 2, 4, 2), (2, 2, 2, 6), (4, 2, 6), (2, 2, 2, 4, 2), (6, 2, 2, 2))},
}
_SIXTH = TICKS_PER_BEAT // 6
_PHRASES = ("ABAC", "AABC", "AAAB", "ABAB")


def melody(
    spans: Sequence[Span],
    metre: Metre,
    scale: Sequence[int],
    *,
    low: int,
    high: int,
    mood: str,
    rng: random.Random,
) -> tuple[Note, ...]:
    """A melody over the chords, within the MIDI keys ``low`` to ``high``; every fourth bar comes to rest.

    Args:
        scale: The pitch classes of the key; while a chord lasts, its tones outside the scale replace their neighbours.
        mood: ``calm`` for long notes, ``moving`` for eighths.
    """
    num_bars = (spans[-1].onset + spans[-1].length) // metre.bar_ticks
    rhythms_of = _COMPOUND if metre.is_compound else _SIMPLE
    rhythms = {letter: rng.choice(rhythms_of[mood][metre.beats_per_bar]) for letter in "ABC"}
    closing = max(rng.sample(rhythms_of["calm"][metre.beats_per_bar], 2), key=lambda rhythm: rhythm[-1])
    contours = {letter: [rng.choice((-2, -1, -1, 1, 1, 2)) for _ in range(8)] for letter in "ABC"}
    form = rng.choice(_PHRASES)
    centre = (low + high) // 2 + rng.randint(-2, 3)
    pitch, notes = centre, []
    for bar in range(num_bars):
        letter = form[bar % 4]
        onset = bar * metre.bar_ticks
        is_close = bar % 4 == 3 or bar == num_bars - 1
        rhythm = closing if is_close else rhythms[letter]
        for count, sixths in enumerate(rhythm):
            length = abs(sixths) * _SIXTH
            if sixths > 0:
                span = _span_at(spans, onset)
                on_beat = onset % TICKS_PER_BEAT == 0
                is_last = is_close and count == len(rhythm) - 1
                pitch = _next_pitch(pitch, contours[letter][count], span, scale, on_beat or is_last, centre, low, high)
                # A breath after the last note of a phrase.
                sounding = length * (15 if is_last else 19) // 20
                stress = 8 if onset % metre.bar_ticks == 0 else 4 if on_beat else 0
                notes.append(Note(onset, sounding, pitch, 84 + stress))
            onset += length
    return tuple(notes)


def _span_at(spans: Sequence[Span], tick: int) -> Span:
    return next(span for span in reversed(spans) if span.onset <= tick)


def _next_pitch(
    pitch: int, step: int, span: Span, scale: Sequence[int], is_chord_tone: bool, centre: int, low: int, high: int
) -> int:
    """The pitch ``step`` scale degrees away, moved to a chord tone if ``is_chord_tone``; it stays near ``centre``."""
    if abs(pitch - centre) > 7:
        step = -abs(step) if pitch > centre else abs(step)
    allowed = _scale_with_chord(scale, span.chord.pitch_classes)
    direction = 1 if step > 0 else -1
    for _ in range(abs(step)):
        pitch += direction
        while pitch % 12 not in allowed:
            pitch += direction
    if is_chord_tone:
        chord_tones = [key for key in range(pitch - 6, pitch + 7) if key % 12 in span.chord.pitch_classes[:4]]
        pitch = min(chord_tones, key=lambda key: abs(key - pitch))
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch


def _scale_with_chord(scale: Sequence[int], chord: Sequence[int]) -> set[int]:
    foreign = [pitch_class for pitch_class in chord if pitch_class not in scale]
    clashing = {(pitch_class + side) % 12 for pitch_class in foreign for side in (-1, 1)} - set(chord)
    return (set(scale) - clashing) | set(chord)
