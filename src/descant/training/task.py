"""What the trainer asks of the thing it trains, and of the data it trains on. It knows nothing else of either."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Metrics: TypeAlias = dict[str, float | Tensor]
"""Numbers worth a line in the log. ``audio_s``, the seconds of audio seen, is summed; the rest is averaged."""


@dataclass(frozen=True)
class StepContext:
    """What surrounds one batch of one update.

    Args:
        step: the update's number, from 0.
        generator: on the CPU, seeded from seed, step, batch and phase. Every random choice comes from it or from
            torch's global generator, which the trainer seeds the same way; then a resumed run repeats them.
        carried: what one phase leaves for a later one on the same batch, such as a reconstruction to be judged.
    """

    step: int
    generator: torch.Generator
    carried: dict[str, Tensor]


@runtime_checkable
class BatchSource(Protocol):
    """Training data as a pure function of a counter, so that a resumed run needs to know nothing but its step."""

    def batch(self, step: int) -> Any:
        """The batch with that number: the same one whenever it is asked for, from whichever thread."""


class Task(ABC):
    """A model with its losses. Most have one phase a step; adversarial ones have one for each side.

    ``model`` is what gets averaged, validated and exported. ``trained`` contains it and whatever else a checkpoint must
    hold, such as a discriminator.
    """

    model: nn.Module
    trained: nn.Module

    def to(self, device: torch.device) -> None:
        """Moves everything the task computes with."""
        self.trained.to(device)

    def phases(self, step: int) -> tuple[str, ...]:
        """The phases this step takes, in order; each must be a key of ``parameters()``."""
        del step
        return tuple(self.parameters())

    @abstractmethod
    def parameters(self) -> Mapping[str, Mapping[str, nn.Parameter]]:
        """For every phase there can be, the named parameters it teaches. Frozen ones belong to none."""

    @abstractmethod
    def loss(self, phase: str, batch: Any, context: StepContext) -> tuple[Float[Tensor, ""], Metrics]:
        """The loss of one batch in one phase, to be differentiated by the trainer, and what to log of it."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Metrics on fixed data. Called with the averaged weights in ``model``, in eval mode, without gradients."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What is trained and how, as plain data: a run is only resumed when this did not change."""
