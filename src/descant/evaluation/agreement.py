"""How well a clip agrees with what was asked: tempo, key, chords, melody and instruments, each from 0 to 1.

The estimators make errors, since beats are hard to detect without drums and keys in short clips, but the same ones on
all clips: the scores of real music for the same targets are the upper line, those of shuffled targets chance.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np

from descant.audio import Clip, integrated_loudness
from descant.conditioning.chords import Chord, ChordTrack, parse_chords
from descant.errors import InvalidRequest
from descant.evaluation.chroma_cosine import chroma_cosine
from descant.evaluation.harmony import FRAME_S, TRIADS, Template, chord_path, pitch_classes
from descant.evaluation.instruments import InstrumentDetector, instruments_named
from descant.evaluation.movement import measure_movement, movement_fit
from descant.evaluation.musical import (
    TempoMatch,
    estimate_key,
    estimate_tempo_bpm,
    require_librosa,
    tempo_match,
)
from descant.tempo_key import NOTES, TempoKey, parse_tempo_key

TEMPO_TOLERANCE, TEMPO_LIMIT = 0.05, 0.15
"""Relative errors up to the first get full credit, from the second on none, and linearly less in between."""
OCTAVE_CREDIT = 0.5
FIFTH_CREDIT, RELATIVE_CREDIT, PARALLEL_CREDIT = 0.5, 0.3, 0.2
"""MIREX's weights for related keys (Raffel et al., "mir_eval", ISMIR 2014)."""
SHORTEST_S = 2.0
"""Tempo and key cannot be estimated from less."""

Mode: TypeAlias = Literal["major", "minor"]
MOOD_WORDS: dict[Mode, tuple[str, ...]] = {
    "major": ("bright", "cheerful", "happy", "jolly", "joyful", "merry", "playful", "sunny", "uplifting"),
    "minor": ("brooding", "dark", "gloomy", "melancholic", "melancholy", "mournful", "ominous", "sad", "tragic"),
}
"""Words for which listeners expect one mode (Hevner, American Journal of Psychology 47, 1935)."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What was asked; None or empty where nothing was. Instruments are families of ``instruments.FAMILY_TAGS``.

    The mode that the mood words of a text suggest is apart: listeners expect it, but the text does not state it.

    Args:
        moves: whether the music should move, which is not scored otherwise.
    """

    tempo_key: TempoKey = field(default_factory=TempoKey)
    chords: ChordTrack | None = None
    melody: Clip | None = None
    instruments: frozenset[str] = frozenset()
    mood_mode: Mode | None = None
    moves: bool = False

    @property
    def states_tempo_or_key(self) -> bool:
        """Whether there is a tempo, a key or a mode."""
        return self.tempo_key.bpm is not None or self.tempo_key.is_minor is not None


def target_of(text: str | None, *, chords: str | None = None, melody: Clip | None = None) -> Target:
    """What a request asks for: the tempo, key, mood and instruments of its text, its chords and its melody.

    Raises:
        InvalidRequest: the chords cannot be read.
    """
    return Target(
        tempo_key=parse_tempo_key(text),
        chords=None if chords is None else parse_chords(chords),
        melody=melody,
        instruments=frozenset() if text is None else instruments_named(text),
        mood_mode=None if text is None else mood_mode(text),
    )


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Scores from 0 to 1; None where nothing was asked, or the clip is too short for an estimate.

    Args:
        tempo: ``tempo_fit``, and ``tempo_ratio`` the class of the error.
        key: ``key_fit``.
        chords: ``chord_share``.
        melody: ``chroma_cosine``.
        instruments: the share of the named families that are recognised, of those that can be.
        mood: whether the mode is the one that the mood words suggest.
    """

    tempo: float | None = None
    tempo_ratio: TempoMatch | None = None
    key: float | None = None
    chords: float | None = None
    melody: float | None = None
    instruments: float | None = None
    mood: float | None = None
    movement: float | None = None

    @property
    def score(self) -> float | None:
        """The mean of the scores without the mood, which nobody stated; None if there are none."""
        scores = (self.tempo, self.key, self.chords, self.melody, self.instruments, self.movement)
        known = [score for score in scores if score is not None]
        return sum(known) / len(known) if known else None


def measure_agreement(clip: Clip, target: Target, detector: InstrumentDetector | None = None) -> Agreement:
    """How well a clip agrees with a target; a silent clip scores 0.

    Ten seconds of audio take about half a second, and as much again with a detector. Tempo, key, mode and movement are
    not estimated from less than two seconds, instruments not from less than three.

    Args:
        detector: without one, instruments are not scored.

    Raises:
        MissingExtra: tempo, key, mood or movement are to be scored, and librosa is not installed.
    """
    is_long = clip.duration_s >= SHORTEST_S
    stated, mood = (target.tempo_key, target.mood_mode) if is_long else (TempoKey(), None)
    is_silent = integrated_loudness(clip.samples, clip.sample_rate_hz) == -math.inf
    needs_key = not is_silent and (stated.is_minor is not None or mood is not None)
    bpm = None if stated.bpm is None or is_silent else estimate_tempo_bpm(clip)
    key = estimate_key(clip) if needs_key else None
    return Agreement(
        tempo=None if stated.bpm is None else tempo_fit(bpm, stated.bpm),
        tempo_ratio=None if stated.bpm is None else tempo_match(bpm, stated.bpm, TEMPO_TOLERANCE),
        key=None if stated.is_minor is None else 0.0 if key is None else key_fit(key, stated),
        chords=None if target.chords is None else chord_share(clip, target.chords),
        melody=None if target.melody is None else 0.0 if is_silent else chroma_cosine(clip, target.melody),
        instruments=None if detector is None else detector.share_recognised(clip, target.instruments),
        mood=None if mood is None else float(key is not None and key.endswith(mood)),
        movement=movement_fit(measure_movement(clip)) if target.moves and is_long else None,
    )


def require_scorable(target: Target, duration_s: float) -> None:
    """Checks that ``measure_agreement`` gives clips of this length a score, before any of them is generated.

    Instruments do not count: they need a detector.

    Raises:
        InvalidRequest: nothing of the target can be scored, or only with music that is longer.
        MissingExtra: there is a tempo or a key, or the music should move, and librosa is not installed.
    """
    needs_length = target.states_tempo_or_key or target.moves
    if target.melody is None and target.chords is None:
        if not needs_length:
            raise InvalidRequest(
                "the best of several is chosen by tempo, key, chords, melody and movement; the request states none and "
                'may stand still; add one, for example "120 bpm"'
            )
        if duration_s < SHORTEST_S:
            raise InvalidRequest(
                f"the best of several is chosen by tempo, key and movement, and {duration_s:g} s are too short to "
                f"estimate them; ask for {SHORTEST_S:g} s or more"
            )
    if needs_length:
        require_librosa()


def tempo_fit(estimated_bpm: float | None, target_bpm: float) -> float:
    """1 within 5 % of the target tempo, 0.5 within 5 % of its double or half, falling to 0 at 15 %."""
    if estimated_bpm is None:
        return 0.0
    return max(
        credit * _credit(estimated_bpm / (target_bpm * ratio))
        for ratio, credit in ((1, 1.0), (2, OCTAVE_CREDIT), (1 / 2, OCTAVE_CREDIT))
    )


def key_fit(estimated: str, target: TempoKey) -> float:
    """MIREX's score of a key against the target; for a target mode without tonic, whether the mode is right.

    1 for the same key, 0.5 for the key a fifth above, 0.3 for the relative key and 0.2 for the parallel one.

    Args:
        estimated: a key as ``estimate_key`` names it.
    """
    note, mode = estimated.split(" ")
    same_mode = (mode == "minor") == target.is_minor
    if target.key is None:
        return float(same_mode)
    above = (NOTES.index(note) - target.key) % 12
    if same_mode:
        return {0: 1.0, 7: FIFTH_CREDIT}.get(above, 0.0)
    relative = 3 if target.is_minor else 9
    return {0: PARALLEL_CREDIT, relative: RELATIVE_CREDIT}.get(above, 0.0)


def chord_share(clip: Clip, chords: ChordTrack) -> float | None:
    """The share of the frames of 0.1 s with an asked chord in which that chord is the best-fitting one.

    A chord counts as found by all of its pitch classes or by its triad, so that sevenths need not be played; bass notes
    that are foreign to a chord are set aside (MIREX compares triads: Pauwels and Peeters, ICASSP 2013). It competes
    with all major and minor triads and the other asked chords (``chord_path``). Frames in which none is asked are left
    out; None if there are no others.
    """
    frames = pitch_classes(clip)
    starts = [chord.start_s for chord in chords]
    times_s = np.arange(len(frames.strengths)) * FRAME_S
    # Index -1, before the first chord, has no templates.
    accepted = [*map(templates_of, chords), frozenset[Template]()]
    asked = [accepted[index] for index in np.searchsorted(starts, times_s, side="right") - 1]
    templates = [*TRIADS, *sorted(frozenset().union(*accepted) - set(TRIADS), key=sorted)]
    played = [templates[index] for index in chord_path(frames.strengths, templates)]
    has_peaks = frames.strengths.any(dim=1).tolist()
    hits = [
        is_audible and chord in accepted_chords
        for chord, accepted_chords, is_audible in zip(played, asked, has_peaks, strict=True)
        if accepted_chords
    ]
    return sum(hits) / len(hits) if hits else None


def templates_of(chord: Chord) -> frozenset[Template]:
    """All pitch classes of a chord, and its triad if it has a third and a fifth; none for no chord."""
    if chord.root is None:
        return frozenset()
    intervals = {(pitch - chord.root) % 12 for pitch in chord.pitches}
    for third in (4, 3):
        if {0, third, 7} <= intervals:
            return frozenset({chord.pitches, frozenset((chord.root + interval) % 12 for interval in (0, third, 7))})
    return frozenset({chord.pitches})


def mood_mode(text: str) -> Mode | None:
    """The mode that the mood words of a text suggest; None without such words, or with words for both."""
    words = set(re.findall(r"[a-z]+", text.lower()))
    modes = [mode for mode, known in MOOD_WORDS.items() if words & set(known)]
    return modes[0] if len(modes) == 1 else None


def _credit(ratio: float) -> float:
    beyond = (abs(ratio - 1) - TEMPO_TOLERANCE) / (TEMPO_LIMIT - TEMPO_TOLERANCE)
    return min(1.0, max(0.0, 1 - beyond))
