"""How a phrase is played: small deviations of time and loudness, fills at its end, and the last chord of a piece.

Deviations depend on the place of a note in its phrase, so a phrase that returns is played the same way.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from starter_corpus.chords import Chord
from starter_corpus.score import TICKS_PER_BEAT, Note, Part
from starter_corpus.spans import Metre

_KICK, _SNARE, _CRASH, _CLOSED_HAT = 36, 38, 49, 42
_TOMS = (48, 47, 45, 43, 41)
_STRUCK = {35, 36, 37, 38, 40, *_TOMS, 50}
"""Drums that a fill replaces; cymbals before it go on."""

# One beat each, in quarters of a beat (thirds in 6/8): which drum is struck, from the snare (0) down the toms.
_FILL_BEATS = ((0, 0, 1, 1), (0, None, 0, 0), (1, 2, 3, 4), (0, 2, 2, 4), (None, 0, 1, 3), (0, 1, None, 4))
_COMPOUND_FILL_BEATS = ((0, 0, 0), (1, 2, 4), (0, None, 2), (0, 1, 3))


@dataclass(frozen=True, kw_only=True)
class Feel:
    """The deviations of a player.

    Args:
        timing_s: standard deviation of the onsets.
        late_s: by how much all notes come late, or early if below zero.
        velocity: standard deviation of the velocities.
        swell: how much louder the middle of a phrase is than its ends, as velocity.
    """

    timing_s: float
    late_s: float
    velocity: float
    swell: float


MACHINE = Feel(timing_s=0.0, late_s=0.0, velocity=0.0, swell=0.0)
_LATE_S = {"drums": 0.0, "bass": 0.004, "chords": 0.004, "pad": 0.0, "arpeggio": 0.003, "lead": 0.008}


def draw_feel(rng: random.Random, role: str) -> Feel:
    """A random human player of a role: leads lag and swell, drums keep time."""
    return Feel(
        timing_s=rng.uniform(0.001, 0.004) if role == "drums" else rng.uniform(0.003, 0.009),
        late_s=rng.gauss(_LATE_S[role], 0.003),
        velocity=rng.uniform(2.0, 6.0),
        swell=rng.uniform(4.0, 14.0) if role == "lead" else rng.uniform(0.0, 6.0),
    )


def perform(notes: Sequence[Note], feel: Feel, samples_per_beat: int, phrase_ticks: int, seed: int) -> tuple[Note, ...]:
    """The notes of a phrase as a player plays them; notes of one onset stay together, and none begins before tick 0."""
    if feel == MACHINE:
        return tuple(notes)
    ticks_per_s = TICKS_PER_BEAT * 32_000 / samples_per_beat
    played = []
    for note in notes:
        rng = random.Random(f"{seed} {note.onset}")
        late = round(rng.gauss(feel.late_s, feel.timing_s) * ticks_per_s)
        place = min(1.0, note.onset / phrase_ticks)
        swell = feel.swell * (4 * place * (1 - place) - 0.5)
        velocity = round(note.velocity + rng.gauss(0.0, feel.velocity) + swell)
        played.append(replace(note, onset=max(0, note.onset + late), velocity=min(127, max(20, velocity))))
    return tuple(played)


@dataclass(frozen=True)
class Fill:
    """The last beats of a phrase on the drums: one row of strokes a beat."""

    beats: tuple[tuple[int | None, ...], ...]


def draw_fill(rng: random.Random, metre: Metre) -> Fill:
    """A random fill of one or two beats."""
    rows = _COMPOUND_FILL_BEATS if metre.is_compound else _FILL_BEATS
    return Fill(tuple(rng.choice(rows) for _ in range(rng.choice((1, 1, 2)))))


def with_fill(notes: Sequence[Note], fill: Fill, phrase_ticks: int) -> tuple[Note, ...]:
    """The drums of a phrase that ends with the fill; its cymbals go on underneath."""
    start = phrase_ticks - len(fill.beats) * TICKS_PER_BEAT
    loudness = max((note.velocity for note in notes if note.pitch in _STRUCK), default=90)
    kept = [note for note in notes if note.onset < start or note.pitch not in _STRUCK or note.pitch in (35, _KICK)]
    drums = (_SNARE, *_TOMS)
    for number, row in enumerate(fill.beats):
        step = TICKS_PER_BEAT // len(row)
        for place, drum in enumerate(row):
            if drum is not None:
                onset = start + number * TICKS_PER_BEAT + place * step
                kept.append(Note(onset, step, drums[drum], min(127, loudness - 8 + 3 * place)))
    return tuple(sorted(kept))


def with_crash(notes: Sequence[Note]) -> tuple[Note, ...]:
    """The drums of a phrase that begins with a crash cymbal instead of what the hi-hat plays there."""
    loudness = max((note.velocity for note in notes), default=90)
    rest = [note for note in notes if not (note.onset < 30 and note.pitch == _CLOSED_HAT)]
    return (Note(0, TICKS_PER_BEAT, _CRASH, min(127, loudness)), *rest)


def last_chord(part: Part, chord: Chord, onset: int, length: int) -> tuple[Note, ...]:
    """What a part plays at the end of a piece: the chord, near the keys that it played before, held."""
    loudness = round(sum(note.velocity for note in part.notes) / len(part.notes))
    if part.is_drums:
        kit = {note.pitch for note in part.notes}
        strokes = [pitch for pitch in (_KICK, _CRASH) if pitch == _CRASH or pitch in kit]
        return tuple(Note(onset, TICKS_PER_BEAT, pitch, loudness) for pitch in strokes)
    middle = sorted(note.pitch for note in part.notes)[len(part.notes) // 2]
    root = middle - 6 + (chord.root - (middle - 6)) % 12
    if part.role in ("bass", "lead"):
        return (Note(onset, length, root, loudness),)
    lowest = middle - 7
    pitches = sorted({lowest + (pitch_class - lowest) % 12 for pitch_class in chord.pitch_classes})
    return tuple(Note(onset, length, pitch, loudness) for pitch in pitches)
