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
    def join(
        self, inputs: LMInputs, sequence: Int[Tensor, "B K S"], max_steps: int
    ) -> tuple[list[int], Float[Tensor, "B K V"]]:
        """x"""

    @abstractmethod
    def step(self, slots: "list[int]", codes: Int[Tensor, "B K"]) -> Float[Tensor, "B K V"]:
        """x"""

    @abstractmethod
    def leave(self, slots: "list[int]") -> None:
        """x"""


class Runtime(ABC):
    """One way to execute a language model. It is made once for a model and may be shared by threads."""

    def __init__(self, lm: MusicLM) -> None:
        self.lm = lm

    @abstractmethod
    def start(self, inputs: LMInputs, num_rows: int, max_steps: int) -> Session:
        """A session for ``num_rows`` sequences of up to ``max_steps`` steps, conditioned on ``inputs``."""
