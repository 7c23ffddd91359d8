"""Dropping conditions in training, so that a model also learns to make music without them.

Classifier-free guidance compares the two (arXiv 2207.12598). Every sample of every step draws for itself, from a
generator that the caller passes: one draw per batch, or one stream repeated on every worker, leaves whole steps without
any condition (audiocraft, ClassifierFreeGuidanceDropout).
"""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool
from torch import Tensor

from descant.errors import ConfigError


@dataclass(frozen=True)
class ConditionDropout:
    """The probabilities with which a sample loses its conditions.

    Args:
        probability: for all conditions of a sample together; classifier-free guidance needs it.
        text, melody, style, clap, chords: for this condition alone, drawn independently of the others, on top of
            ``probability``. They are drawn in this order: a new condition goes last, so that the others draw the same
            numbers as before.
    """

    probability: float = 0.15
    text: float = 0.0
    melody: float = 0.0
    style: float = 0.0
    clap: float = 0.0
    chords: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= 1:
                raise ConfigError(f"{field.name}={value:g}: a probability is between 0 and 1")

    def rows(self, batch: int, generator: torch.Generator) -> dict[str, Bool[Tensor, " B"]]:
        """For each condition, which of ``batch`` samples lose it.

        A call draws the same amount whatever the probabilities, so changing one leaves the other draws alone.
        """
        names = [field.name for field in fields(self)][1:]
        draws = torch.rand(1 + len(names), batch, generator=generator, device=generator.device)
        all_conditions = draws[0] < self.probability
        return {
            name: all_conditions | (draw < getattr(self, name)) for name, draw in zip(names, draws[1:], strict=True)
        }
