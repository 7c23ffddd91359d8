"""Is a named instrument present? The tagger's 50 tags, grouped into instrument families and calibrated.

A tag's probability means little by itself: MusiCNN was trained on other recordings, so "flute" may be low on all flutes
of a corpus and high on its violins. Each family's threshold is therefore set on clips with known instruments: the 80th
percentile of the clips without the family, which gives every family a false-alarm rate of 20 %. Families that the
tagger separates poorly are not scored.
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
"""The tags of each family; families without a tag (brass, organ, reeds, bass) cannot be scored."""

FALSE_ALARM_RATE = 0.2
MIN_SEPARATION = 0.7
MIN_CLIPS = 10


@dataclass(frozen=True, kw_only=True)
class FamilyThreshold:
    """The score above which a family counts as recognised, and the tagger's performance on it.

    ``separation`` is the probability that a clip with the family scores above one without it (area under the ROC
    curve), ``recall`` the share of clips with the family above the threshold. The counts are of calibration clips.
    """

    score: float
    separation: float
    recall: float
    num_with: int
    num_without: int

    @property
    def is_reliable(self) -> bool:
        """Whether the tagger separates this family well enough from the others."""
        return self.separation >= MIN_SEPARATION


def family_scores(probabilities: Float[Tensor, "50"]) -> dict[str, float]:
    """The highest probability among the tags of each family."""
    by_tag = dict(zip(TAGS, probabilities.tolist(), strict=True))
    return {family: max(by_tag[tag] for tag in tags) for family, tags in FAMILY_TAGS.items()}


def calibrate(scores: Sequence[Mapping[str, float]], present: Sequence[Set[str]]) -> dict[str, FamilyThreshold]:
    """Each family's threshold from clips with known content, in the order of ``FAMILY_TAGS``.

    Families with fewer than ten clips with or without them are left out: too few for a percentile.

    Args:
        scores: ``family_scores`` of each clip.
        present: the families that play in each clip.

    Raises:
        InvalidRequest: the two lengths differ.
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
    """The families of the instruments named in a text, in singular or plural; ``family_of`` maps names to families.

    Longer names match first: "bass guitar" does not name a guitar, nor "synth strings" strings.
    """
    names = sorted(family_of, key=len, reverse=True)
    found = re.findall(rf"\b({'|'.join(map(re.escape, names))})(?:e?s)?\b", text.lower())
    return frozenset(family_of[name] for name in found)
