"""What decoding asks of a runtime: reading the steps of a batch, and the logits of the step after them.

A runtime knows nothing of patterns, guidance or sampling.
"""

from abc import ABC, abstractmethod

from jaxtyping import Float, Int
from torch import Tensor

from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs
from descant.shapes import Sequence


class Session(ABC):
    """A batch of sequences that are being decoded. All calls are made in ``torch.inference_mode``.

    Some rows are copies that pad the batch. On a CPU, in float32 and bfloat16, a row must have the same bits whatever
    other rows are in the batch (`generation/batch_invariance.py`).
    """

    @abstractmethod
    def prefill(self, sequence: Sequence) -> Float[Tensor, "B K V"]:
        """Reads the known steps, at least one; gives the logits of the step after them. Called once, first."""

    @abstractmethod
    def step(self, sequence: Int[Tensor, "B K 1"]) -> Float[Tensor, "B K V"]:
        """Reads the next step; gives the logits of the step after it."""

    @abstractmethod
    def keep_rows(self, index: Int[Tensor, " rows"]) -> None:
        """Keeps only these rows of the batch, in this order: finished requests leave."""


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

    @abstractmethod
    def start(self, inputs: LMInputs, num_rows: int, max_steps: int) -> Session:
        """A session for ``num_rows`` sequences of up to ``max_steps`` steps, conditioned on ``inputs``."""
