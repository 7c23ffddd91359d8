"""Scores from 0 to 1 of how well a clip fits its prompt, for choosing the best of several candidates.

Only the tempo and key that the text states, and the melody, are scored. The estimators make errors, since beats are
hard to detect without drums and keys in short clips, but the same ones on all candidates.
"""

import math
from dataclasses import dataclass

from descant.audio import Clip, integrated_loudness
from descant.errors import InvalidRequest
from descant.evaluation.chroma_cosine import chroma_cosine
from descant.evaluation.musical import NOTES, estimate_key, estimate_tempo_bpm, require_librosa
from descant.tempo_key import TempoKey, parse_tempo_key

TEMPO_TOLERANCE, TEMPO_LIMIT = 0.05, 0.15
"""Relative errors up to the first get full credit, from the second on none, and linearly less in between."""
OCTAVE_CREDIT = 0.5
FIFTH_CREDIT, RELATIVE_CREDIT, PARALLEL_CREDIT = 0.5, 0.3, 0.2
"""MIREX's weights for related keys (Raffel et al., "mir_eval", ISMIR 2014)."""
SHORTEST_S = 2.0
"""Tempo and key cannot be estimated from less."""


@dataclass(frozen=True)
class Fit:
    """Scores from 0 to 1; None where the prompt has no target, or the clip is too short for an estimate."""

    tempo: float | None
    key: float | None
    melody: float | None

    @property
    def score(self) -> float | None:
        """The mean of the scores; None if there are none."""
        parts = [part for part in (self.tempo, self.key, self.melody) if part is not None]
        return sum(parts) / len(parts) if parts else None


def fit(clip: Clip, text: str | None, melody: Clip | None = None) -> Fit:
    """How well a clip fits the tempo and key that a text states, and a melody; a silent clip scores 0.

    Ten seconds of audio take about half a second. Clips under two seconds are scored by their melody alone.

    Raises:
        MissingExtra: the text states a tempo or a key, and librosa is not installed.
    """
    target = parse_tempo_key(text)
    if clip.duration_s < SHORTEST_S:
        target = TempoKey()
    if integrated_loudness(clip.samples, clip.sample_rate_hz) == -math.inf:
        return Fit(*(None if wanted is None else 0.0 for wanted in (target.bpm, target.is_minor, melody)))
    return Fit(
        tempo=None if target.bpm is None else tempo_fit(estimate_tempo_bpm(clip), target.bpm),
        key=None if target.is_minor is None else key_fit(estimate_key(clip), target),
        melody=None if melody is None else chroma_cosine(clip, melody),
    )


def require_scorable(text: str | None, melody: Clip | None, duration_s: float) -> None:
    """Checks that ``fit`` can score a request, before any candidate is generated.

    Raises:
        InvalidRequest: the request has no tempo, key or melody, or is too short to estimate tempo and key.
        MissingExtra: the text states a tempo or a key, and librosa is not installed.
    """
    target = parse_tempo_key(text)
    states_any = target.bpm is not None or target.is_minor is not None
    if melody is None and not states_any:
        raise InvalidRequest(
            "the best of several is chosen by tempo, key and melody, and the request states none; "
            'add one, for example "120 bpm"'
        )
    if melody is None and duration_s < SHORTEST_S:
        raise InvalidRequest(
            f"the best of several is chosen by tempo and key, and {duration_s:g} s are too short to estimate them; "
            f"ask for {SHORTEST_S:g} s or more"
        )
    if states_any:
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


def _credit(ratio: float) -> float:
    beyond = (abs(ratio - 1) - TEMPO_TOLERANCE) / (TEMPO_LIMIT - TEMPO_TOLERANCE)
    return min(1.0, max(0.0, 1 - beyond))
