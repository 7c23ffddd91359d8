"""How well a clip fits what was asked for, in numbers from 0 to 1: for choosing the best of several candidates.

Only what a text states in so many words counts, its tempo and its key, and the melody that came with it. The judges
err, since beats are hard to hear without drums and keys in short clips, but they err alike on all candidates.
"""

import math
from dataclasses import dataclass

from descant.audio import Clip, integrated_loudness
from descant.errors import InvalidRequest
from descant.evaluation.chroma_cosine import chroma_cosine
from descant.evaluation.musical import NOTES, estimate_key, estimate_tempo_bpm, require_librosa
from descant.tempo_key import TempoKey, parse_tempo_key

TEMPO_TOLERANCE, TEMPO_LIMIT = 0.05, 0.15
"""A tempo this far off is right, and one that far or farther is wrong; between them credit falls in a straight line."""
OCTAVE_CREDIT = 0.5
FIFTH_CREDIT, RELATIVE_CREDIT, PARALLEL_CREDIT = 0.5, 0.3, 0.2
"""MIREX's weights for keys that are near the right one (Raffel et al., "mir_eval", ISMIR 2014)."""
SHORTEST_S = 2.0
"""In less there is neither a tempo nor a key to hear."""


@dataclass(frozen=True)
class Fit:
    """How well a clip fits, from 0 to 1; None where nothing was asked, or the clip is too short to hear it in."""

    tempo: float | None
    key: float | None
    melody: float | None

    @property
    def score(self) -> float | None:
        """The mean of what was asked for; None if that was nothing."""
        parts = [part for part in (self.tempo, self.key, self.melody) if part is not None]
        return sum(parts) / len(parts) if parts else None


def fit(clip: Clip, text: str | None, melody: Clip | None = None) -> Fit:
    """How well a clip fits the tempo and the key that a text states, and a melody. A silent clip fits nothing.

    Ten seconds of sound take about half a second. Clips under two seconds are judged by their melody alone.

    Raises:
        MissingExtra: the text states a tempo or a key, and librosa is not installed.
    """
    facts = parse_tempo_key(text)
    if clip.duration_s < SHORTEST_S:
        facts = TempoKey()
    if integrated_loudness(clip.samples, clip.sample_rate_hz) == -math.inf:
        return Fit(*(None if asked is None else 0.0 for asked in (facts.bpm, facts.is_minor, melody)))
    return Fit(
        tempo=None if facts.bpm is None else tempo_fit(estimate_tempo_bpm(clip), facts.bpm),
        key=None if facts.is_minor is None else key_fit(estimate_key(clip), facts),
        melody=None if melody is None else chroma_cosine(clip, melody),
    )


def require_scorable(text: str | None, melody: Clip | None, duration_s: float) -> None:
    """Refuses what ``fit`` could say nothing of, before any candidate is made.

    Raises:
        InvalidRequest: nothing is asked for that can be heard, or nothing in so short a clip.
        MissingExtra: the text states a tempo or a key, and librosa is not installed.
    """
    facts = parse_tempo_key(text)
    states_any = facts.bpm is not None or facts.is_minor is not None
    if melody is None and not states_any:
        raise InvalidRequest(
            "the best of several is told by tempo, key and melody, and the request states none; "
            'add one, for example "120 bpm"'
        )
    if melody is None and duration_s < SHORTEST_S:
        raise InvalidRequest(
            f"the best of several is told by tempo and key, which {duration_s:g} s are too short to hear; "
            f"ask for {SHORTEST_S:g} s or more"
        )
    if states_any:
        require_librosa()


def tempo_fit(estimated_bpm: float | None, asked_bpm: float) -> float:
    """1 within 5 % of the tempo asked for, half of that around its double and its half, 0 beyond 15 % of them."""
    if estimated_bpm is None:
        return 0.0
    return max(
        credit * _nearness(estimated_bpm / (asked_bpm * ratio))
        for ratio, credit in ((1, 1.0), (2, OCTAVE_CREDIT), (1 / 2, OCTAVE_CREDIT))
    )


def key_fit(heard: str, asked: TempoKey) -> float:
    """MIREX's score of a key against the one asked for; of a mode without a tonic, whether it is that mode.

    1 for the same key, 0.5 for the key a fifth above, 0.3 for the relative key and 0.2 for the parallel one.

    Args:
        heard: a key as ``estimate_key`` names it.
    """
    note, mode = heard.split(" ")
    same_mode = (mode == "minor") == asked.is_minor
    if asked.key is None:
        return float(same_mode)
    above = (NOTES.index(note) - asked.key) % 12
    if same_mode:
        return {0: 1.0, 7: FIFTH_CREDIT}.get(above, 0.0)
    relative = 3 if asked.is_minor else 9
    return {0: PARALLEL_CREDIT, relative: RELATIVE_CREDIT}.get(above, 0.0)


def _nearness(ratio: float) -> float:
    beyond = (abs(ratio - 1) - TEMPO_TOLERANCE) / (TEMPO_LIMIT - TEMPO_TOLERANCE)
    return min(1.0, max(0.0, 1 - beyond))
