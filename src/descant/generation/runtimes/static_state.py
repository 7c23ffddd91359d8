"""The memory of sequences that are decoded on a GPU: tensors that stay where they are, one row for each sequence.

Steps read and write these tensors only, so that a CUDA graph can record one. A row belongs to one sequence from its
joining to its leaving, and has a position of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.kv_cache import StaticCache

FEWEST_ROWS = 2
LENGTH_STEPS = 256
CROSS_STEPS = 64

RowIndex: TypeAlias = slice | Int[Tensor, " B"]


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What fits into a state.

    Args:
        rows: sequences.
        length: positions of each sequence, prefix included.
        cross_length: positions of the conditions that cross-attention reads.
        sum_steps: steps of the summed condition; 0 for none.
        has_output: whether there is a condition before the heads.
    """

    rows: int
    length: int
    cross_length: int
    sum_steps: int
    has_output: bool

    @staticmethod
    def of(inputs: LMInputs, rows: int, max_steps: int) -> "Capacity":
        """What sequences with these conditions take, if they fill ``rows`` rows."""
        return Capacity(
            rows=rows,
            length=max_steps + inputs.prefix_steps,
            cross_length=0 if inputs.cross is None else inputs.cross.shape[1],
            sum_steps=0 if inputs.sum is None else inputs.sum.shape[1],
            has_output=inputs.output is not None,
        )

    def union(self, other: "Capacity") -> "Capacity":
        """The smallest capacity for both."""
        return Capacity(
            rows=max(self.rows, other.rows),
            length=max(self.length, other.length),
            cross_length=max(self.cross_length, other.cross_length),
            sum_steps=max(self.sum_steps, other.sum_steps),
            has_output=self.has_output or other.has_output,
        )

    def rounded_up(self) -> "Capacity":
        """Rounded up, so that few sequences need more later."""
        return Capacity(
            rows=row_bucket(self.rows),
            length=length_bucket(self.length),
            cross_length=_multiple(max(self.cross_length, 1), CROSS_STEPS),
            sum_steps=length_bucket(self.sum_steps) if self.sum_steps > 1 else self.sum_steps,
            has_output=self.has_output,
        )


def row_bucket(rows: int) -> int:
    """A step is done for this many rows if ``rows`` are needed: a power of two."""
    return max(FEWEST_ROWS, 1 << (rows - 1).bit_length())


def length_bucket(length: int) -> int:
    """A step attends to this many positions, the later ones masked, if ``length`` are needed."""
    return _multiple(length, LENGTH_STEPS)


def _multiple(number: int, of: int) -> int:
    return -(-number // of) * of


@dataclass(frozen=True)
class KeyValues:
    """The keys and values that one attention reads, as many for each row as there is room for."""

    keys: Float[Tensor, "R H S E"]
    values: Float[Tensor, "R H S E"]

    def first(self, rows: int, length: int) -> "KeyValues":
        """The first rows and places, in the same memory."""
        return KeyValues(self.keys[:rows, :, :length], self.values[:rows, :, :length])

    def fill(self, rows: RowIndex, keys: Float[Tensor, "B H new E"], values: Float[Tensor, "B H new E"]) -> None:
        """All that some rows have from now on; the places behind are zeros."""
        for mine, given in ((self.keys, keys), (self.values, values)):
            mine[rows, :, : given.shape[2]] = given
            mine[rows, :, given.shape[2] :] = 0


@dataclass(frozen=True)
class StaticLayer:
    """A layer's keys and values of the steps, and of the conditions if it has cross-attention."""

    steps: KeyValues
    cross: KeyValues | None


class StaticState:
    """Everything that a step reads and writes, the weights aside. Rows without a sequence hold finite numbers.

    Attributes:
        codes: the codes of the next step, [R K].
        position: the place of the next step, prefix included, [R].
        first_step: the place of the first step, behind the prefix, [R].
        last_sum: the last step that the summed condition has, [R]; a single one is added to every step.
        logits: those of the step after it, [R K V].
    """

    def __init__(self, lm: MusicLM, capacity: Capacity) -> None:
        self.capacity = capacity
        weight, transformer = lm.norm.weight, lm.config.transformer
        rows, width = capacity.rows, transformer.width

        def integers(*shape: int, value: int = 0) -> Int[Tensor, "..."]:
            return torch.full(shape, value, dtype=torch.int64, device=weight.device)

        def heads(length: int) -> KeyValues:
            shape = (rows, transformer.num_heads, length, transformer.head_dim)
            return KeyValues(weight.new_zeros(shape), weight.new_zeros(shape))

        self.codes = integers(rows, lm.config.num_codebooks, value=lm.special_code)
        self.position, self.first_step, self.last_sum = integers(rows), integers(rows), integers(rows)
        self.logits = weight.new_zeros(rows, lm.config.num_codebooks, lm.config.codebook_size)
        self.sum = weight.new_zeros(rows, capacity.sum_steps, width) if capacity.sum_steps else None
        self.output = weight.new_zeros(rows, 1, width) if capacity.has_output else None
        self.cross_bias = weight.new_zeros(rows, capacity.cross_length)
        has_cross = transformer.has_cross_attention
        self.layers = [
            StaticLayer(heads(capacity.length), heads(capacity.cross_length) if has_cross else None) for _ in lm.blocks
        ]
        # A cache without rows has the positions and takes no other memory.
        self.positions = lm.new_cache(0, capacity.length).positions
        self.steps = torch.arange(capacity.length, device=weight.device)
        self.row_numbers = torch.arange(rows, device=weight.device)

    def fill(self, rows: Sequence[int], inputs: LMInputs, cache: StaticCache) -> None:
        """Puts sequences that were read with a cache into these rows. What was there before is removed: it is masked,
        but a number that is not finite would survive its weight of zero."""
        index = torch.tensor(rows, device=self.position.device)
        for mine, theirs in zip(self.layers, cache.layers, strict=True):
            mine.steps.fill(index, theirs.keys, theirs.values)
            if mine.cross is not None:
                nothing = mine.cross.keys[index, :, :0]
                mine.cross.fill(index, *(theirs.cross or (nothing, nothing)))
        self._fill_bias(index, cache)
        self.position[index] = cache.length
        self.first_step[index] = inputs.prefix_steps
        self.last_sum[index] = 0 if inputs.sum is None else inputs.sum.shape[1] - 1
        if self.sum is not None:
            _write(self.sum, index, self.sum[index, :0] if inputs.sum is None else inputs.sum)
        if self.output is not None:
            self.output[index] = self.output.new_zeros(()) if inputs.output is None else inputs.output

    def _fill_bias(self, index: Int[Tensor, " B"], cache: StaticCache) -> None:
        """Zero where a row attends to its conditions; one without any attends to zeros, as in `LMInputs.context`."""
        mask = torch.zeros(len(index), self.capacity.cross_length, dtype=torch.bool, device=index.device)
        if cache.context is None:
            mask[:, 0] = True
        else:
            mask[:, : cache.context.mask.shape[-1]] = cache.context.mask[:, 0, 0]
        self.cross_bias[index] = self.cross_bias.new_zeros(mask.shape).masked_fill(~mask, -torch.inf)

    def copy_from(self, other: "StaticState") -> None:
        """Takes over all rows of a state with a smaller capacity."""
        rows = slice(other.capacity.rows)
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            mine.steps.fill(rows, theirs.steps.keys, theirs.steps.values)
            if mine.cross is not None and theirs.cross is not None:
                mine.cross.fill(rows, theirs.cross.keys, theirs.cross.values)
        for target, source in zip(self._of_rows(), other._of_rows(), strict=True):
            target[rows] = source
        _write(self.cross_bias, rows, other.cross_bias, -torch.inf)
        if self.sum is not None:
            _write(self.sum, rows, self.sum[rows, :0] if other.sum is None else other.sum)
        if self.output is not None:
            self.output[rows] = self.output.new_zeros(()) if other.output is None else other.output

    def _of_rows(self) -> tuple[Tensor, ...]:
        return self.codes, self.position, self.first_step, self.last_sum


def _write(
    target: Float[Tensor, "R S *rest"],
    rows: RowIndex,
    source: Float[Tensor, "B new *rest"],
    padding: float = 0.0,
) -> None:
    """The values of some rows; the places behind them are padded."""
    target[rows, : source.shape[1]] = source
    target[rows, source.shape[1] :] = padding
