"""What a model's prior chooses for texts that leave it open."""

from dataclasses import dataclass

from descant.conditioning.chord_prior import ChordPrior
from descant.conditioning.tempo_key_prior import TempoKeyPrior


@dataclass(frozen=True, kw_only=True)
class Prior:
    """The priors over tempo, key and metre and, if there is one, over chords."""

    tempo_key: TempoKeyPrior
    chords: ChordPrior | None = None
