"""Tempo and key as conditions: where a text states them ("120 bpm", "in F# minor"), they are embedded as numbers.

A text encoder barely separates 120 from 125 bpm (the small one puts them at a cosine of 0.97), and a language model
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

from descant.conditioning.base import Conditioner, Conditions, Embedding, FrameSpan, Fusion
from descant.errors import ConfigError
from descant.tempo_key import FASTEST_BPM, NUM_KEYS, SLOWEST_BPM, TempoKey, parse_tempo_key


@dataclass(frozen=True, kw_only=True)
class TempoKeyConfig:
    """How tempo and key are embedded.

    Args:
        tempo_bumps: bell curves over the logarithm of the tempo; their heights at a tempo encode it.
        clock_harmonics: the beat's phase is encoded as sines and cosines at the beat rate and its multiples.
    """

    tempo_bumps: int = 36
    clock_harmonics: int = 4

    def __post_init__(self) -> None:
        if self.tempo_bumps < 2 or self.clock_harmonics < 1:
            raise ConfigError(
                f"tempo_bumps={self.tempo_bumps}, clock_harmonics={self.clock_harmonics}: at least 2 and at least 1"
            )


class TempoKeyConditioner(Conditioner[Sequence[TempoKey]]):
    """Tempo and key as one vector per step, added to the embedded steps; zeros for a text that states neither.

    The entry ``tempo_key`` of the conditions replaces what the text states.
    """

    name, condition, also_reads = "tempo_key", "text", frozenset({"tempo_key"})

    def __init__(self, config: TempoKeyConfig, lm_width: int) -> None:
        super().__init__()
        self.config = config
        self.project_stated = nn.Linear(config.tempo_bumps + NUM_KEYS + 2, lm_width, bias=False)
        self.project_clock = nn.Linear(2 * config.clock_harmonics, lm_width, bias=False)

    def prepare(self, rows: Sequence[Conditions]) -> Sequence[TempoKey]:
        """Each row's tempo and key, by default what its text states."""
        return [row.get("tempo_key") or parse_tempo_key(row.get("text")) for row in rows]

    def forward(
        self, prepared: Sequence[TempoKey], span: FrameSpan, drop: Bool[Tensor, " B"] | None = None
    ) -> dict[Fusion, Embedding]:
        """One vector per row and step. A row whose beats before the span are unknown has no clock."""
        # In double precision, which not every device has: an hour in, the phase of a beat is still exact.
        bpm = torch.tensor([row.bpm or 0.0 for row in prepared], dtype=torch.float64)
        offset = torch.zeros_like(bpm) if span.first_beats is None else span.first_beats.to("cpu", torch.float64)
        frames = span.input_frames.to("cpu", torch.float64)
        beats = offset[:, None] + frames * (bpm[:, None] / (60 * span.frame_rate_hz))
        stated = torch.cat([self._tempo(bpm), _key_flags(prepared)], dim=1)
        clock = self._clock(beats, (bpm > 0) & offset.isfinite())
        weight = self.project_stated.weight
        stated, clock = (part.to(weight.dtype).to(weight.device) for part in (stated, clock))
        has_condition = torch.tensor([row != TempoKey() for row in prepared], device=weight.device)
        values = self.project_stated(stated)[:, None] + self.project_clock(clock)
        return {"sum": Embedding.masked(values, has_condition[:, None].expand(values.shape[:2]), drop)}

    def _tempo(self, bpm: Float[Tensor, " B"]) -> Float[Tensor, "B bumps"]:
        low, high = math.log2(SLOWEST_BPM), math.log2(FASTEST_BPM)
        centres = torch.linspace(low, high, self.config.tempo_bumps, dtype=bpm.dtype)
        distance = (bpm.clamp(min=SLOWEST_BPM).log2()[:, None] - centres) / (centres[1] - centres[0])
        return (-0.5 * distance.square()).exp() * (bpm > 0)[:, None]

    def _clock(self, beats: Float[Tensor, "B S"], has_clock: Bool[Tensor, " B"]) -> Float[Tensor, "B S waves"]:
        rates = torch.arange(1, self.config.clock_harmonics + 1)
        phase = 2 * math.pi * (beats[:, :, None] * rates).frac()
        waves = rearrange([phase.cos(), phase.sin()], "wave B S rate -> B S (rate wave)")
        return torch.where(has_clock[:, None, None], waves, 0.0)


def _key_flags(stated: Sequence[TempoKey]) -> Float[Tensor, "B flags"]:
    flags = torch.zeros(len(stated), NUM_KEYS + 2, dtype=torch.float64)
    for row, tempo_key in enumerate(stated):
        if tempo_key.key is not None:
            flags[row, tempo_key.key] = 1.0
        if tempo_key.is_minor is not None:
            flags[row, NUM_KEYS + tempo_key.is_minor] = 1.0
    return flags
