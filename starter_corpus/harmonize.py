"""Chords for a tune: in every bar the plain chord of its key that holds most of what is sung there."""

from collections.abc import Sequence

from starter_corpus.chords import Chord, chord_of
from starter_corpus.score import Note
from starter_corpus.textures import Metre

# The chords a mode offers, the commonest first.
_OFFERS = {
    "major": ("I", "V", "IV", "vi", "ii"),
    "minor": ("i", "bVII", "iv", "v", "bVI", "bIII"),
    "dorian": ("i", "bVII", "IV", "v", "bIII"),
    "mixolydian": ("I", "bVII", "IV", "v"),
}


def harmonize(notes: Sequence[Note], upbeat: int, metre: Metre, tonic: int, mode: str) -> list[Chord]:
    """One chord for each bar after the upbeat; the first bar leans on the keynote, later ones on commoner chords."""
    offers = [chord_of(numeral, tonic) for numeral in _OFFERS[mode]]
    num_bars = -(-(max(note.onset for note in notes) + 1 - upbeat) // metre.bar_ticks)
    chords: list[Chord] = []
    for bar in range(num_bars):
        start = upbeat + bar * metre.bar_ticks
        weights = _weights(notes, start, start + metre.bar_ticks)
        habits = [0.06 * (len(offers) - place) / len(offers) for place in range(len(offers))]
        habits[0] += 0.25 if bar == 0 else 0.0
        fits = [_fit(chord, weights) + habit for chord, habit in zip(offers, habits, strict=True)]
        chords.append(offers[fits.index(max(fits))])
    return chords


def _fit(chord: Chord, weights: Sequence[float]) -> float:
    """The share of what is sung that the chord holds, its root counted for more."""
    total = sum(weights) or 1.0
    held = sum(weights[pitch_class] for pitch_class in chord.pitch_classes)
    return (held + 0.3 * weights[chord.root]) / total


def _weights(notes: Sequence[Note], start: int, end: int) -> list[float]:
    """How long each pitch class sounds between two ticks, its first moment counted half as much again."""
    weights = [0.0] * 12
    for note in notes:
        overlap = min(end, note.onset + note.length) - max(start, note.onset)
        if overlap > 0:
            weights[note.pitch % 12] += overlap * (1.5 if note.onset == start else 1.0)
    return weights
