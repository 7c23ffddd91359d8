"""What decoding asks of a runtime: reading the steps of sequences, and the logits of the step after them.

A runtime knows nothing of patterns, guidance or sampling.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from jaxtyping import Float, Int
from torch import Tensor

from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs


class Session(ABC):
    """Sequences that are decoded side by side, each at a step of its own. All calls are made in ``inference_mode``.

    A sequence keeps its slot, a number, until it leaves; later sequences may get it then. On a CPU a
    sequence's logits must have the same bits whatever other sequences are there, and whenever they join and
    leave.
    """

    @abstractmethod
    def join(
        self, inputs: LMInputs, sequence: Int[Tensor, "B K S"], max_steps: int
    ) -> tuple[list[int], Float[Tensor, "B K V"]]:
        """Adds B sequences of up to ``max_steps`` steps under these conditions and reads the steps that are known, at
        least one. Gives their slots and the logits of the step after.
        """

    @abstractmethod
    def step(self, slots: Sequence[int], codes: Int[Tensor, "B K"]) -> Float[Tensor, "B K V"]:
        """Reads the next step of the sequences in these slots, one or more; gives the logits of the step after it, in
        that order.
        """

    @abstractmethod
    def leave(self, slots: Sequence[int]) -> None:
        """Frees the slots."""


class Runtime(ABC):
    """One way to execute a language model. It is made once for a model and may be shared by threads."""

    def __init__(self, lm: MusicLM) -> None:
        self.lm = lm

    def bytes_per_step(self) -> int:
        """The bytes of weights that a step reads: all but the embeddings, of which it takes a row each.

        A runtime that keeps its weights in another form gives the bytes of that form.
        """
        embeddings = {id(parameter) for parameter in self.lm.embeddings.parameters()}
        return sum(
            parameter.numel() * parameter.element_size()
            for parameter in self.lm.parameters()
            if id(parameter) not in embeddings
        )

    @property
    def description(self) -> str:
        """What executes the steps, and what the weights are held in."""
        return type(self).__name__

    @abstractmethod
    def start(self) -> Session:
        """A session without sequences. A session belongs to one thread at a time."""

    def num_sessions(self) -> int:
        """How many sessions decode many requests the fastest, each in a thread of its own."""
        return 1

    def start_alone(self) -> Session:
        """One of several such sessions, whose steps use the thread that calls them and no other."""
        return self.start()

    def adapted(self, lm: MusicLM) -> "Runtime":
        """The runtime of the same model with an adapter (``adapters.layers.adapted``); weights are shared."""
        return type(self)(lm)
