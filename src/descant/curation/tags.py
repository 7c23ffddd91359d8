"""Voices, instruments, genre and mood of a recording, from the 50 tags of MusiCNN."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from descant.audio import Clip
from descant.evaluation.embedders import TAGS, MusicTagger
from descant.evaluation.instruments import CALIBRATION, FALSE_ALARM_RATE, SHORTEST_S, family_scores

MAX_PATCHES = 20
"""A minute of a longer recording is tagged, in parts of three seconds that are spread over it."""
PATCH_S = 3.0

VOICE_TAGS = (
    *("vocal", "vocals", "voice", "singing", "female", "male", "woman", "man", "male vocal", "female vocal"),
    *("male voice", "female voice"),
)
VOICE_CONFIDENCE = 0.45
"""Sampled choirs and saxophones without a voice reach 0.42."""

GENRE_TAGS = {
    **{name: name for name in ("classical", "techno", "electronic", "rock", "ambient", "pop", "new age", "dance")},
    **{name: name for name in ("country", "metal", "opera")},
}
MOOD_TAGS = {"slow": "slow", "fast": "fast", "loud": "loud", "quiet": "quiet", "soft": "soft"}
WORD_CONFIDENCE = 0.5
MIN_PROBABILITY = 0.15
"""Tags below are no ground for a word, even where the threshold of their family is lower."""


@dataclass(frozen=True)
class Word:
    """A word for a recording and the tagger's probability for it."""

    word: str
    confidence: float


def tag_probabilities(wave: Float[Tensor, " N"], sample_rate_hz: int, tagger: MusicTagger) -> dict[str, float] | None:
    """The probability of each tag; None for less than three seconds, and for silence."""
    if len(wave) < SHORTEST_S * sample_rate_hz or not wave.any():
        return None
    clip = Clip(samples=spread(wave, sample_rate_hz)[None], sample_rate_hz=sample_rate_hz)
    return dict(zip(TAGS, tagger.tag(clip).tolist(), strict=True))


def spread(wave: Float[Tensor, " N"], sample_rate_hz: int) -> Float[Tensor, " M"]:
    """The wave, or of a long one parts of three seconds at equal distances."""
    size = round(PATCH_S * sample_rate_hz)
    if len(wave) <= MAX_PATCHES * size:
        return wave
    starts = torch.linspace(0, len(wave) - size, MAX_PATCHES).long().tolist()
    return torch.cat([wave[start : start + size] for start in starts])


def voice(probabilities: Mapping[str, float]) -> float:
    """The probability of a singing or speaking voice: that of the likeliest of its tags."""
    return max(probabilities[tag] for tag in VOICE_TAGS)


def instruments(probabilities: Mapping[str, float]) -> list[Word]:
    """The families of instruments that are recognised, the surest first.

    The confidence is the probability that a family plays if it is recognised, where half of the music has it: its
    recall against the rate of false alarms of ``CALIBRATION``.
    """
    scores = family_scores(torch.tensor([probabilities[tag] for tag in TAGS]))
    found = [
        Word(family, threshold.recall / (threshold.recall + FALSE_ALARM_RATE))
        for family, threshold in CALIBRATION.items()
        if threshold.is_reliable and scores[family] > max(threshold.score, MIN_PROBABILITY)
    ]
    return sorted(found, key=lambda word: -word.confidence)


def words(probabilities: Mapping[str, float], names: Mapping[str, str]) -> list[Word]:
    """The words whose tags are likely enough, the likeliest first."""
    likely = [Word(name, probabilities[tag]) for tag, name in names.items() if probabilities[tag] >= WORD_CONFIDENCE]
    return sorted(likely, key=lambda word: -word.confidence)
