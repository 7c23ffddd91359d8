"""Chords for a tune: for every bar the simple chord of its key that covers most of the melody."""

from collections.abc import Sequence

from starter_corpus.chords import Chord, chord_of
from starter_corpus.score import Note
from starter_corpus.spans import Metre

# Candidate chords by mode, the most common first.
_CANDIDATES = {
    "major": ("I", "V", "IV", "vi", "ii"),
    "minor": ("i", "bVII", "iv", "v", "bVI", "bIII"),
    "dorian": ("i", "bVII", "IV", "v", "bIII"),
    "mixolydian": ("I", "bVII", "IV", "v"),
}


def harmonize(notes: Sequence[Note], upbeat: int, metre: Metre, tonic: int, mode: str) -> list[Chord]:
    """One chord for each bar after the upbeat; the first bar prefers the tonic, later ones the more common chords."""
    candidates = [chord_of(numeral, tonic) for numeral in _CANDIDATES[mode]]
    num_bars = -(-(max(note.onset for note in notes) + 1 - upbeat) // metre.bar_ticks)
    chords: list[Chord] = []
    for bar in range(num_bars):
        start = upbeat + bar * metre.bar_ticks
        weights = _weights(notes, start, start + metre.bar_ticks)
        priors = [0.06 * (len(candidates) - place) / len(candidates) for place in range(len(candidates))]
        priors[0] += 0.25 if bar == 0 else 0.0
        fits = [_fit(chord, weights) + prior for chord, prior in zip(candidates, priors, strict=True)]
        chords.append(candidates[fits.index(max(fits))])
    return chords


def _fit(chord: Chord, weights: Sequence[float]) -> float:
    """The share of the melody that the chord covers; its root counts more."""
    total = sum(weights) or 1.0
    covered = sum(weights[pitch_class] for pitch_class in chord.pitch_classes)
    return (covered + 0.3 * weights[chord.root]) / total


def _weights(notes: Sequence[Note], start: int, end: int) -> list[float]:
    """How long each pitch class sounds between two ticks; a note on the first tick counts 1.5 times."""
    weights = [0.0] * 12
    for note in notes:
        overlap = min(end, note.onset + note.length) - max(start, note.onset)
        if overlap > 0:
            weights[note.pitch % 12] += overlap * (1.5 if note.onset == start else 1.0)
    return weights
