"""Is the instrument that was asked for there? The tagger's fifty words, read as instrument families and calibrated.

A tag's probability means little by itself: MusiCNN was trained on other recordings, so "flute" may stay low on every
flute of a corpus and high on its violins. Each family's threshold is therefore set on clips of known instruments: the
80th percentile among the clips that lack the family, so that one in five is a false alarm by construction, for
every family alike. A family whose clips the tagger cannot tell from the others is left out of the judgement.
"""

import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from descant.errors import InvalidRequest
from descant.evaluation.embedders import TAGS

FAMILY_TAGS = {
    "piano": ("piano",),
    "guitar": ("guitar", "sitar"),
    "strings": ("strings", "violin", "cello"),
    "flute": ("flute",),
    "harp": ("harp",),
    "choir": ("choir", "choral"),
    "drums": ("drums", "beat", "beats"),
    "synth": ("synth", "electronic"),
}
"""The tags that speak for each family; a family without one (brass, organ, reeds, bass) cannot be judged."""

FALSE_ALARM_RATE = 0.2
MIN_SEPARATION = 0.7
MIN_CLIPS = 10


@dataclass(frozen=True, kw_only=True)
class FamilyThreshold:
    """When a family counts as recognised, and how well the tagger knows it.

    ``separation`` is the chance that a clip with the family scores above one without it (the area under the ROC curve);
    ``recall`` the share of clips with the family that pass the threshold. The counts are the clips it was set on.
    """

    score: float
    separation: float
    recall: float
    num_with: int
    num_without: int

    @property
    def is_reliable(self) -> bool:
        """Whether the tagger tells this family from the others well enough to be asked."""
        return self.separation >= MIN_SEPARATION


def family_scores(probabilities: Float[Tensor, "50"]) -> dict[str, float]:
    """For each family the highest probability among its tags."""
    by_tag = dict(zip(TAGS, probabilities.tolist(), strict=True))
    return {family: max(by_tag[tag] for tag in tags) for family, tags in FAMILY_TAGS.items()}


def calibrate(scores: Sequence[Mapping[str, float]], present: Sequence[Set[str]]) -> dict[str, FamilyThreshold]:
    """Each family's threshold from clips with known content, in the order of ``FAMILY_TAGS``.

    Families with fewer than ten clips on either side are left out: a percentile of so few says nothing.

    Args:
        scores: ``family_scores`` of each clip.
        present: the families that truly play in each clip.

    Raises:
        InvalidRequest: there are not as many contents as clips.
    """
    if len(scores) != len(present):
        raise InvalidRequest(f"{len(scores)} clips were scored, the content of {len(present)} is given")
    thresholds = {}
    for family in FAMILY_TAGS:
        with_it = np.array([clip[family] for clip, content in zip(scores, present, strict=True) if family in content])
        without = np.array(
            [clip[family] for clip, content in zip(scores, present, strict=True) if family not in content]
        )
        if min(len(with_it), len(without)) < MIN_CLIPS:
            continue
        score = float(np.quantile(without, 1 - FALSE_ALARM_RATE))
        thresholds[family] = FamilyThreshold(
            score=score,
            separation=_separation(with_it, without),
            recall=float((with_it > score).mean()),
            num_with=len(with_it),
            num_without=len(without),
        )
    return thresholds


def _separation(with_it: np.ndarray, without: np.ndarray) -> float:
    above = with_it[:, None] > without[None, :]
    equal = with_it[:, None] == without[None, :]
    return float((above + equal / 2).mean())


def families_named(text: str, family_of: Mapping[str, str]) -> frozenset[str]:
    """The families of the instruments that a text names, in singular or plural; ``family_of`` has the known names.

    Longer names go first and use up their words: "bass guitar" names no guitar, "synth strings" no strings.
    """
    names = sorted(family_of, key=len, reverse=True)
    found = re.findall(rf"\b({'|'.join(map(re.escape, names))})(?:e?s)?\b", text.lower())
    return frozenset(family_of[name] for name in found)
