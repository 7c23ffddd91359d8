"""The interfaces between the trainer, what it trains (``Task``) and what it trains on (``BatchSource``)."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.errors import ConfigError

Metrics: TypeAlias = dict[str, float | Tensor]
"""Values to log. ``audio_s``, the seconds of audio in the batch, is summed; everything else is averaged."""


@dataclass(frozen=True)
class StepContext:
    """The context in which the loss of one batch is computed.

    Args:
        step: the number of the update, from 0.
        generator: on the CPU, seeded from seed, step, batch and phase. Random choices must come from it or from torch's
            global generator, which the trainer seeds the same way, so that a resumed run repeats them.
        carried: tensors that one phase passes to a later one on the same batch, such as a reconstruction for the
            discriminator.
    """

    step: int
    generator: torch.Generator
    carried: dict[str, Tensor]


@runtime_checkable
class BatchSource(Protocol):
    """Training data as a pure function of a counter, so that a resumed run needs only its step number."""

    def batch(self, step: int) -> Any:
        """The batch with that number: always the same one, from any thread."""


class Task(ABC):
    """A model with its losses. Most tasks have one phase per step; adversarial ones have one per network.

    ``model`` is averaged, validated and exported. ``trained`` contains it and everything else that a checkpoint must
    hold, such as a discriminator. ``criterion`` is the value of ``validate()`` that tells the best checkpoint: the
    lower, the better. ``own_gradients`` is the setting by which ``loss`` differentiates by itself, if it does: such
    gradients are not scaled, as float16 needs.
    """

    model: nn.Module
    trained: nn.Module
    criterion: str
    own_gradients: str | None = None

    def to(self, device: torch.device) -> None:
        """Moves everything that the task computes with to the device."""
        self.trained.to(device)

    def units(self) -> Sequence[nn.Module]:
        """The modules whose weights can be split over processes, the outermost last; none where nothing is split.

        Each is called as a module in ``loss`` and ``validate``, in the same order in all processes.
        """
        return ()

    def recompute(self) -> None:
        """Makes the model keep fewer activations in training.

        Raises:
            ConfigError: this task cannot.
        """
        raise ConfigError("trainer.recompute: only language models compute their activations again; switch it off")

    def compile(self) -> None:
        """Makes the model compute with compiled blocks from its next call on.

        Raises:
            ConfigError: this task cannot.
        """
        raise ConfigError("trainer.compile: only language models are compiled; switch it off")

    def phases(self, step: int) -> tuple[str, ...]:
        """The phases of this step, in order; each must be a key of ``parameters()``."""
        del step
        return tuple(self.parameters())

    @abstractmethod
    def parameters(self) -> Mapping[str, Mapping[str, nn.Parameter]]:
        """The named parameters that each phase trains. Frozen parameters belong to no phase."""

    @abstractmethod
    def loss(self, phase: str, batch: Any, context: StepContext) -> tuple[Float[Tensor, ""], Metrics]:
        """The loss of one batch in one phase, which the trainer differentiates, and the metrics to log."""

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Metrics on fixed data. Called with the averaged weights in ``model``, in eval mode, without gradients."""

    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What is trained and how, as plain data: a run can be resumed only if this is unchanged."""
