"""Tempo and key as conditions: where a text states them ("120 bpm", "in F# minor"), they are embedded as numbers.

A sentence encoder hardly tells 120 from 125 bpm (the small one puts them at a cosine of 0.97), and a language model
that reads a tempo once, at the start, has to count frames for itself. So tempo and key are parsed from the text, and
the phase of the beat is embedded for each step. For new models; the released ones have the text alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from descant.conditioning.base import Embedding
from descant.errors import ConfigError
from descant.tempo_key import FASTEST_BPM, NUM_KEYS, SLOWEST_BPM, TempoKey


@dataclass(frozen=True, kw_only=True)
class TempoKeyConfig:
    """How tempo and key are told.

    Args:
        tempo_bumps: bell curves over the logarithm of the tempo; a tempo is told by how near it is to each.
        clock_harmonics: the beat's phase is told at this rate and its multiples, as sines and cosines.
    """

    tempo_bumps: int = 36
    clock_harmonics: int = 4

    def __post_init__(self) -> None:
        if self.tempo_bumps < 2 or self.clock_harmonics < 1:
            raise ConfigError(
                f"tempo_bumps={self.tempo_bumps}, clock_harmonics={self.clock_harmonics}: at least 2 and at least 1"
            )


class TempoKeyConditioner(nn.Module):
    """Tempo and key as one vector a step, to be added to the stream; zeros for a text that states neither."""

    def __init__(self, config: TempoKeyConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.project_facts = nn.Linear(config.tempo_bumps + NUM_KEYS + 2, width, bias=False)
        self.project_clock = nn.Linear(2 * config.clock_harmonics, width, bias=False)

    def forward(
        self,
        facts: Sequence[TempoKey],
        frames: Float[Tensor, " S"],
        frame_rate_hz: float,
        first_beats: Float[Tensor, " B"] | None = None,
    ) -> Embedding:
        """One vector a step and text.

        Args:
            frames: the frame that each step predicts.
            first_beats: how many beats of the piece lie before frame 0 of each row; NaN where nobody knows, and then
                the row has no clock. None begins on a beat.
        """
        # In double precision, which not every device has: an hour in, the phase of a beat is still exact.
        bpm = torch.tensor([fact.bpm or 0.0 for fact in facts], dtype=torch.float64)
        offset = torch.zeros_like(bpm) if first_beats is None else first_beats.to("cpu", torch.float64)
        beats = offset[:, None] + frames.to("cpu", torch.float64) * (bpm[:, None] / (60 * frame_rate_hz))
        stated = torch.cat([self._tempo(bpm), _key_flags(facts)], dim=1)
        clock = self._clock(beats, (bpm > 0) & offset.isfinite())
        weight = self.project_facts.weight
        stated, clock = (told.to(weight.dtype).to(weight.device) for told in (stated, clock))
        is_said = torch.tensor([fact != TempoKey() for fact in facts], device=weight.device)
        values = self.project_facts(stated)[:, None] + self.project_clock(clock)
        return Embedding(values, is_said[:, None].expand(values.shape[:2]))

    def _tempo(self, bpm: Float[Tensor, " B"]) -> Float[Tensor, "B bumps"]:
        low, high = math.log2(SLOWEST_BPM), math.log2(FASTEST_BPM)
        centres = torch.linspace(low, high, self.config.tempo_bumps, dtype=bpm.dtype)
        distance = (bpm.clamp(min=SLOWEST_BPM).log2()[:, None] - centres) / (centres[1] - centres[0])
        return (-0.5 * distance.square()).exp() * (bpm > 0)[:, None]

    def _clock(self, beats: Float[Tensor, "B S"], is_told: Bool[Tensor, " B"]) -> Float[Tensor, "B S waves"]:
        rates = torch.arange(1, self.config.clock_harmonics + 1)
        turns = 2 * math.pi * (beats[:, :, None] * rates).frac()
        waves = rearrange([turns.cos(), turns.sin()], "wave B S rate -> B S (rate wave)")
        return torch.where(is_told[:, None, None], waves, 0.0)


def _key_flags(facts: Sequence[TempoKey]) -> Float[Tensor, "B flags"]:
    flags = torch.zeros(len(facts), NUM_KEYS + 2, dtype=torch.float64)
    for row, fact in enumerate(facts):
        if fact.key is not None:
            flags[row, fact.key] = 1.0
        if fact.is_minor is not None:
            flags[row, NUM_KEYS + fact.is_minor] = 1.0
    return flags
