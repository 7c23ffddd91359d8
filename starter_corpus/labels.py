"""Labels of a piece over time: chords, beats, bars and sections, as tags of its record and for every frame.

The tempo of a piece is constant, so its beats and bars follow from the tags ``bpm``, ``metre``, ``first_beat_s`` and
``first_bar_s``. Chords and sections are texts such as ``"Am7:0 F:2.4"`` and ``"A:0 B:9.6"``: a name and the second from
which on it applies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from descant.tempo_key import beats_per_bar
from starter_corpus.chords import Chord
from starter_corpus.score import FRAME_SAMPLES, SAMPLE_RATE_HZ, TICKS_PER_BEAT, sample_of

_SPELLINGS = {"M7": "maj7", "M9": "maj9", "7b9": "7", "7sus": "sus4"}
"""Qualities as ``descant.conditioning.chords`` names them, or their nearest there."""


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What sounds when, in ticks from the start; empty where it is not known.

    Args:
        chords: with the tick at which each begins; None is no chord.
        sections: letters with the tick at which each begins.
        upbeat_ticks: before the first bar line.
    """

    chords: tuple[tuple[Chord | None, int], ...] = ()
    sections: tuple[tuple[str, int], ...] = ()
    upbeat_ticks: int = 0


def chord_labels(bars: Sequence[Sequence[Chord]], bar_ticks: int, first_tick: int = 0) -> list[tuple[Chord, int]]:
    """The chords of bars with the tick at which each begins; a chord that stays is named once."""
    found: list[tuple[Chord, int]] = []
    for number, bar in enumerate(bars):
        for position, chord in enumerate(bar):
            if not found or found[-1][0] != chord:
                found.append((chord, first_tick + number * bar_ticks + position * bar_ticks // len(bar)))
    return found


def label_tags(labels: Labels, samples_per_beat: int) -> dict[str, Any]:
    """The tags of a record: ``first_beat_s``, ``first_bar_s`` and, where known, ``chords`` and ``sections``."""

    def second(tick: int) -> float:
        return round(sample_of(tick, samples_per_beat) / SAMPLE_RATE_HZ, 4)

    tags: dict[str, Any] = {
        "first_beat_s": second(labels.upbeat_ticks % TICKS_PER_BEAT),
        "first_bar_s": second(labels.upbeat_ticks),
    }
    if labels.chords:
        tags["chords"] = " ".join(f"{_symbol(chord)}:{second(tick)}" for chord, tick in labels.chords)
    if labels.sections:
        tags["sections"] = " ".join(f"{letter}:{second(tick)}" for letter, tick in labels.sections)
    return tags


def _symbol(chord: Chord | None) -> str:
    if chord is None:
        return "N"
    return chord.symbol.removesuffix(chord.quality) + _SPELLINGS.get(chord.quality, chord.quality)


@dataclass(frozen=True, eq=False)
class FrameLabels:
    """Labels of each frame of 20 ms.

    Args:
        beat: beats since the first one, with their fraction; negative before it.
        bar: whole bars since the first bar line; -1 in the upbeat.
        chord, section: the chord's symbol and the section's letter; empty where there is none.
    """

    beat: Float[np.ndarray, " T"]
    bar: Int[np.ndarray, " T"]
    chord: tuple[str, ...]
    section: tuple[str, ...]


def frame_labels(tags: Mapping[str, Any], duration_s: float) -> FrameLabels:
    """The labels of a record's frames, from its tags; each frame has those of its beginning."""
    times_s = np.arange(int(duration_s * SAMPLE_RATE_HZ) // FRAME_SAMPLES) * FRAME_SAMPLES / SAMPLE_RATE_HZ
    beats_per_s = float(tags["bpm"]) / 60
    # A thousandth of a beat: times are rounded in the tags, and beats begin on frames.
    since_bar = (times_s - tags["first_bar_s"]) * beats_per_s + 1e-3
    return FrameLabels(
        beat=(times_s - tags["first_beat_s"]) * beats_per_s,
        bar=np.floor(since_bar / beats_per_bar(tags["metre"])).astype(int),
        chord=_at(tags.get("chords"), times_s),
        section=_at(tags.get("sections"), times_s),
    )


def _at(text: str | None, times_s: Float[np.ndarray, " T"]) -> tuple[str, ...]:
    names, starts = [""], [-np.inf]
    for word in (text or "").split():
        name, _, second = word.rpartition(":")
        names.append("" if name == "N" else name)
        starts.append(float(second))
    return tuple(names[index] for index in np.searchsorted(starts, times_s + 1e-4, side="right") - 1)
