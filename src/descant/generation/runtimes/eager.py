"""The reference runtime: the model's own forward pass with a KV cache, on any device and in any precision."""

from jaxtyping import Float, Int
from torch import Tensor

from descant.generation.batch_invariance import PREFILL_STEPS
from descant.generation.runtimes.base import Runtime, Session
from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs
from descant.shapes import Sequence


class EagerRuntime(Runtime):
    """PyTorch's own operations, one after another."""

    def start(self, inputs: LMInputs, num_rows: int, max_steps: int) -> "EagerSession":
        return EagerSession(self.lm, inputs, num_rows, max_steps)


class EagerSession(Session):
    """A batch and its KV cache."""

    def __init__(self, lm: MusicLM, inputs: LMInputs, num_rows: int, max_steps: int) -> None:
        self.lm, self.inputs = lm, inputs
        self.cache = lm.new_cache(num_rows, max_steps, inputs)

    def prefill(self, sequence: Sequence) -> Float[Tensor, "B K V"]:
        for chunk in prefill_chunks(sequence):
            logits = self.step(chunk)
        return logits

    def step(self, sequence: Sequence) -> Float[Tensor, "B K V"]:
        return self.lm(sequence, self.inputs, self.cache)[:, :, -1]

    def keep_rows(self, index: Int[Tensor, " rows"]) -> None:
        self.cache.keep_rows(index)
        self.inputs = self.inputs.rows(index)


def prefill_chunks(sequence: Sequence) -> list[Int[Tensor, "B K _"]]:
    """The sequence in chunks of ``PREFILL_STEPS``, what is left of it step by step."""
    whole = sequence.shape[-1] // PREFILL_STEPS * PREFILL_STEPS
    chunks, rest = sequence.split([whole, sequence.shape[-1] - whole], dim=-1)
    return [chunk for chunk in (*chunks.split(PREFILL_STEPS, dim=-1), *rest.split(1, dim=-1)) if chunk.shape[-1]]
