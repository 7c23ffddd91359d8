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

from descant.audio import Clip
from descant.errors import InvalidRequest
from descant.evaluation.embedders import TAGS, MusicTagger

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

NAMED_FAMILIES = {
    **{family: family for family in FAMILY_TAGS},
    **dict.fromkeys(("clavinet", "electric piano", "harpsichord", "honky-tonk piano"), "piano"),
    **dict.fromkeys(("banjo", "mandolin", "sitar", "ukulele"), "guitar"),
    **dict.fromkeys(("cello", "string", "string quartet", "viola", "violin", "fiddle"), "strings"),
    **dict.fromkeys(("ocarina", "pan flute", "piccolo", "recorder", "shakuhachi", "whistle"), "flute"),
    "choral": "choir",
    **dict.fromkeys(("beat", "drum", "drum kit", "percussion", "tabla", "taiko"), "drums"),
    **dict.fromkeys(("synthesiser", "synthesizer", "synth brass", "synth pad", "synth strings"), "synth"),
    # Only so that the shorter name in them is not read.
    **dict.fromkeys(("bass guitar", "double bass", "synth bass", "slap bass"), "bass"),
    **dict.fromkeys(("steel drum", "steel drums"), "mallets"),
}
"""The family of every instrument that a text may name, by its name in the singular."""

_NEGATED = re.compile(r"\b(?:no|without)\b[^,.;]*")

FALSE_ALARM_RATE = 0.2
MIN_SEPARATION = 0.7
MIN_CLIPS = 10
SHORTEST_S = 3.0
"""A patch of the tagger has 2.99 s."""


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


CALIBRATION = {
    family: FamilyThreshold(
        score=score, separation=separation, recall=recall, num_with=num_with, num_without=590 - num_with
    )
    for family, score, separation, recall, num_with in (
        ("piano", 0.0915, 0.799, 0.639, 208),
        ("guitar", 0.357, 0.778, 0.570, 228),
        ("strings", 0.104, 0.809, 0.561, 57),
        ("flute", 0.00686, 0.935, 0.880, 50),
        ("harp", 0.0165, 0.844, 0.818, 22),
        ("choir", 0.000588, 0.908, 0.833, 18),
        ("drums", 0.0362, 0.962, 0.983, 291),
        ("synth", 0.0974, 0.815, 0.684, 57),
    )
}
"""``calibrate`` of 590 crops of ten seconds from the starter's corpus, whose instruments are sampled.

In 104 other pieces, 0.76 of the families that play are recognised, and 0.22 of those that do not. Calibrate anew
for other music.
"""


@dataclass(frozen=True)
class InstrumentDetector:
    """A tagger with the thresholds of its families; those that it separates poorly are not scored."""

    tagger: MusicTagger
    thresholds: Mapping[str, FamilyThreshold]

    @classmethod
    def load(cls) -> "InstrumentDetector":
        """The released tagger with ``CALIBRATION``.

        Raises:
            MissingExtra: the package ``musicnn``, which contains the weights, is not installed.
        """
        return cls(MusicTagger.load(), CALIBRATION)

    def share_recognised(self, clip: Clip, families: Set[str]) -> float | None:
        """The share of the families that score above their threshold; None if none of them can be scored.

        Clips under three seconds, which the tagger cannot read, have None; silence has 0.
        """
        reliable = [family for family in families if family in self.thresholds and self.thresholds[family].is_reliable]
        if not reliable or clip.duration_s < SHORTEST_S:
            return None
        if not clip.samples.any():
            return 0.0
        scores = family_scores(self.tagger.tag(clip))
        return sum(scores[family] > self.thresholds[family].score for family in reliable) / len(reliable)


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


def instruments_named(text: str) -> frozenset[str]:
    """The families of ``FAMILY_TAGS`` that a text asks for: not those after "no" or "without", up to the next comma."""
    return families_named(_NEGATED.sub("", text.lower()), NAMED_FAMILIES).intersection(FAMILY_TAGS)
