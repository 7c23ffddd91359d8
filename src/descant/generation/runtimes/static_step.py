"""One decoding step of the language model on static memory: the formula of `lm/` for one step of many sequences.

The rows of a step are at different positions. Where a layer of the model asks for a sequence, it is given the rows as
if they were the steps of one: its weights and formulas do not know the difference.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from descant.generation.runtimes.static_state import KeyValues, StaticState
from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.transformer import Block

Rows = Float[Tensor, "1 R D"]
Heads = Float[Tensor, "1 H R E"]


class StaticStep:
    """The step of a model on one state.

    Args:
        uses_triton: attends to the steps with `triton_attention.py`, which reads no further than each row's position.
    """

    def __init__(self, lm: MusicLM, state: StaticState, uses_triton: bool) -> None:
        self.lm, self.state, self.uses_triton = lm, state, uses_triton
        self.blocks = cast(list[Block], list(lm.blocks))

    def __call__(self, rows: int, length: int) -> None:
        """Reads ``codes`` of the first rows at their positions, and writes ``logits``. Positions stay, so that doing it
        twice changes nothing.

        Args:
            length: none of these rows that is used is further than this.
        """
        state, lm = self.state, self.lm
        # A row that has no sequence, or waits, may be at the end of its memory: it must not write behind it.
        place = state.position[:rows].clamp(max=state.capacity.length - 1)
        hidden, rotary = self._embedded(place)
        attend = self._attention_to_steps(place, length)
        for block, layer in zip(self.blocks, state.layers, strict=True):
            queries, keys, values = block.self_attention.split(block.self_attention.qkv(block.norm1(hidden)), rotary)
            attended = attend(queries, keys, values, layer.steps)
            hidden = block.residual1(hidden, block.self_attention.out(attended))
            if layer.cross is not None:
                attended = self._cross_attended(block, layer.cross, hidden)
                hidden = block.residual_cross(hidden, block.cross_attention.out(attended))
            hidden = block.residual2(hidden, block.mlp(block.norm2(hidden)))
        output = None if state.output is None else state.output[:rows]
        hidden = lm.finish(rearrange(hidden, "1 R D -> R 1 D"), LMInputs(output=output))
        state.logits[:rows].copy_(lm.predict(hidden)[:, :, 0])

    def _embedded(self, place: Int[Tensor, " R"]) -> tuple[Rows, Float[Tensor, "R E"] | None]:
        state, rows = self.state, len(place)
        hidden = self.lm.embed(rearrange(state.codes[:rows], "R K -> 1 K R"), LMInputs(), start=0)
        if state.sum is not None:
            step = (place - state.first_step[:rows]).minimum(state.last_sum[:rows])
            hidden = hidden + state.sum[state.row_numbers[:rows], step]
        return self.lm.place(hidden, state.positions.index_select(0, place))

    def _attention_to_steps(
        self, place: Int[Tensor, " R"], length: int
    ) -> Callable[[Heads, Heads, Heads, KeyValues], Rows]:
        """Self-attention of rows at these places, which writes their new keys and values."""
        if self.uses_triton:
            return partial(_attend_in_chunks, place=place, length=length)
        is_later = self.state.steps[:length] > place[:, None]
        bias = self.state.cross_bias.new_zeros(is_later.shape).masked_fill(is_later, -torch.inf)
        return partial(_write_and_attend, place=place, row_numbers=self.state.row_numbers[: len(place)], bias=bias)

    def _cross_attended(self, block: Block, cross: KeyValues, hidden: Rows) -> Rows:
        rows, attention = hidden.shape[1], block.cross_attention
        queries = attention.split_queries(attention.qkv.part(block.norm_cross(hidden), 0, attention.width))
        return _attend(queries, cross.first(rows, self.state.capacity.cross_length), self.state.cross_bias[:rows])


def _attend_in_chunks(
    queries: Heads, keys: Heads, values: Heads, cached: KeyValues, *, place: Int[Tensor, " R"], length: int
) -> Rows:
    from descant.generation.runtimes.triton_attention import attend

    query, key, value = (rearrange(heads, "1 H R E -> R H E") for heads in (queries, keys, values))
    cached = cached.first(len(place), length)
    attended = attend(query, key, value, cached.keys, cached.values, place)
    return rearrange(attended, "R H E -> 1 R (H E)")


def _write_and_attend(
    queries: Heads,
    keys: Heads,
    values: Heads,
    cached: KeyValues,
    *,
    place: Int[Tensor, " R"],
    row_numbers: Int[Tensor, " R"],
    bias: Float[Tensor, "R S"],
) -> Rows:
    # A row that waits may be behind the length that the others need.
    cached.keys[row_numbers, :, place] = rearrange(keys, "1 H R E -> R H E")
    cached.values[row_numbers, :, place] = rearrange(values, "1 H R E -> R H E")
    return _attend(queries, cached.first(*bias.shape), bias)


def _attend(queries: Heads, cached: KeyValues, bias: Float[Tensor, "R S"]) -> Rows:
    """PyTorch's attention, of one query for each row. The bias is minus infinity where a row does not attend."""
    queries = rearrange(queries, "1 H R E -> R H 1 E")
    attended = F.scaled_dot_product_attention(queries, cached.keys, cached.values, attn_mask=bias[:, None, None])
    return rearrange(attended, "R H 1 E -> 1 R (H E)")
