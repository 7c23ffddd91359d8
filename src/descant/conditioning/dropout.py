"""Leaving conditions out while training, so that a model also learns to make music without them.

Classifier-free guidance compares the two (arXiv 2207.12598). Every sample of every step draws for itself, from a
generator that the caller passes: one draw per batch, or one stream repeated on every worker, leaves whole steps without
any condition (audiocraft, ClassifierFreeGuidanceDropout).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from descant.conditioning.base import Embedding
from descant.errors import ConfigError

_NAMES = ("text", "melody", "style", "clap")
"""In the order of their draws: a new one comes last, and those before it draw what they drew."""


@dataclass(frozen=True)
class ConditionDropout:
    """How often a sample loses its conditions.

    Args:
        probability: for all conditions of a sample together; what guidance needs.
        text, melody, style, clap: for this condition alone, drawn independently of the others, on top of
            ``probability``.
    """

    probability: float = 0.15
    text: float = 0.0
    melody: float = 0.0
    style: float = 0.0
    clap: float = 0.0

    def __post_init__(self) -> None:
        for name in ("probability", *_NAMES):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ConfigError(f"{name}={value:g}: a probability is between 0 and 1")

    def rows(self, batch: int, generator: torch.Generator) -> dict[str, Bool[Tensor, " B"]]:
        """Which of ``batch`` samples lose which condition.

        A call always draws the same amount, whatever the probabilities, so changing one leaves the other draws alone.
        """
        draws = torch.rand(1 + len(_NAMES), batch, generator=generator, device=generator.device)
        everything = draws[0] < self.probability
        return {name: everything | (draw < getattr(self, name)) for name, draw in zip(_NAMES, draws[1:], strict=True)}

    def __call__(self, embeddings: Mapping[str, Embedding], generator: torch.Generator) -> dict[str, Embedding]:
        """The embeddings with the drawn rows turned into the null condition."""
        if not embeddings:
            return {}
        batch = len(next(iter(embeddings.values())).mask)
        rows = self.rows(batch, generator)
        return {name: embedding.without(rows[name].to(embedding.mask.device)) for name, embedding in embeddings.items()}
