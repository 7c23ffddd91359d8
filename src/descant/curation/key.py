"""The key of a recording with the probability that it is right.

Every key gets a score, a weighted sum of how strong each note is above its tonic, over the whole recording and in its
first two seconds, where music usually sounds its tonic. The weights were fitted to music whose key is known, as
Krumhansl's profiles are fitted to listeners; a softmax of the scores gives probabilities.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from descant.audio import Clip
from descant.curation.tempo import SHORTEST_S
from descant.curation.weights import key_weights
from descant.evaluation.harmony import FRAME_S, PitchClasses, pitch_classes
from descant.evaluation.musical import NOTES

BEGINNING_S = 2.0
KEYS = tuple(f"{note} {mode}" for mode in ("major", "minor") for note in NOTES)


@dataclass(frozen=True)
class Key:
    """A key such as "F# minor", the probability that it is right, and that it or its relative key is."""

    name: str
    confidence: float
    confidence_with_relative: float


def estimate_key(clip: Clip) -> Key | None:
    """The key of a clip; None if nothing in it has a pitch, or it is shorter than five seconds."""
    of_keys = [*key_probabilities(clip).values()]
    if not of_keys:
        return None
    best = max(range(len(KEYS)), key=of_keys.__getitem__)
    return Key(KEYS[best], of_keys[best], of_keys[best] + of_keys[relative(best)])


def key_probabilities(clip: Clip) -> dict[str, float]:
    """The probability of each of ``KEYS``; empty if nothing in the clip has a pitch, or it is shorter than five
    seconds.
    """
    if clip.duration_s < SHORTEST_S:
        return {}
    pitches = pitch_classes(clip)
    if not pitches.is_pitched.any():
        return {}
    scores = key_features(pitches) @ key_weights()
    probabilities = np.exp(scores - scores.max())
    return dict(zip(KEYS, (probabilities / probabilities.sum()).tolist(), strict=True))


def relative(key: int) -> int:
    """The number of the key with the same notes and the other mode."""
    return 12 + (key + 9) % 12 if key < 12 else (key - 12 + 3) % 12


def key_features(pitches: PitchClasses) -> Float[np.ndarray, "24 features"]:
    """What the score of each key is a weighted sum of: the notes from its tonic up, apart for the two modes."""
    pitched = (pitches.strengths * pitches.is_pitched[:, None]).numpy()
    beginning = pitched[: round(BEGINNING_S / FRAME_S)]
    notes = np.stack([_unit(pitched.mean(axis=0)), _unit(beginning.mean(axis=0))])
    features = np.zeros((24, 2, 24))
    for tonic in range(12):
        features[tonic, 0] = features[12 + tonic, 1] = np.roll(notes, -tonic, axis=1).ravel()
    is_minor = (np.arange(24) >= 12).astype(float)
    return np.column_stack([features.reshape(24, 48), is_minor])


def _unit(vector: Float[np.ndarray, " 12"]) -> Float[np.ndarray, " 12"]:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
