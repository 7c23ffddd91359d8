"""The reference runtime: the model's own forward pass on one sequence at a time, on any device and in any precision.

A sequence's bits cannot depend on other sequences, since no operation sees two of them.
"""

from collections.abc import Sequence
from itertools import count, islice

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.generation.runtimes.base import Runtime, Session
from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs

PREFILL_STEPS = 16
"""A prompt is read in chunks of this many steps, the rest of it step by step. A product of another height may give
other bits, and a recorded request must give the same codes in later versions; and chunks bound the memory of a long
prompt's logits. Watched by tests/generation/runtimes/test_runtimes.py."""


class EagerRuntime(Runtime):
    """PyTorch's own operations, one after another."""

    def start(self) -> "EagerSession":
        return EagerSession(self.lm)


class EagerSession(Session):
    """A KV cache of one row for each slot."""

    def __init__(self, lm: MusicLM) -> None:
        self._lm = lm
        self._sequences: dict[int, CachedSequence] = {}

    def join(
        self, inputs: LMInputs, sequence: Int[Tensor, "B K S"], max_steps: int
    ) -> tuple[list[int], Float[Tensor, "B K V"]]:
        index = torch.arange(len(sequence), device=sequence.device)
        rows = [CachedSequence(self._lm, inputs.rows(row), max_steps) for row in index.split(1)]
        logits = [row.prefill(steps) for row, steps in zip(rows, sequence.split(1), strict=True)]
        slots = [*islice((slot for slot in count() if slot not in self._sequences), len(rows))]
        self._sequences.update(zip(slots, rows, strict=True))
        return slots, torch.cat(logits)

    def step(self, slots: Sequence[int], codes: Int[Tensor, "B K"]) -> Float[Tensor, "B K V"]:
        steps = codes[:, :, None].split(1)
        return torch.cat([self._sequences[slot].read(step) for slot, step in zip(slots, steps, strict=True)])

    def leave(self, slots: Sequence[int]) -> None:
        for slot in slots:
            del self._sequences[slot]


class CachedSequence:
    """One sequence, its conditions and its KV cache."""

    def __init__(self, lm: MusicLM, inputs: LMInputs, max_steps: int) -> None:
        self._lm, self._inputs = lm, inputs
        self._cache = lm.new_cache(1, max_steps, inputs)

    def prefill(self, sequence: Int[Tensor, "1 K S"]) -> Float[Tensor, "1 K V"]:
        """Reads the known steps in chunks; gives the logits of the step after them."""
        whole = sequence.shape[-1] // PREFILL_STEPS * PREFILL_STEPS
        chunks = sequence[:, :, :whole].split(PREFILL_STEPS, dim=-1) if whole else ()
        for chunk in (*chunks, *sequence[:, :, whole:].split(1, dim=-1)):
            if chunk.shape[-1]:
                logits = self.read(chunk)
        return logits

    def read(self, steps: Int[Tensor, "1 K S"]) -> Float[Tensor, "1 K V"]:
        """Reads the next steps; gives the logits of the step after them."""
        return self._lm(steps, self._inputs, self._cache)[:, :, -1]
