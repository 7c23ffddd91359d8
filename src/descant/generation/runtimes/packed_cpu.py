"""The CPU's runtime: packed weights, attention multiplied out, and rows whose bits do not depend on the batch.

It has its own forward pass over the model's weights for decoding steps. Conditions and prompts are read one row of the
batch at a time by the model's own forward pass, whose bits then cannot depend on other rows.
"""

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from descant.generation.batch_invariance import CACHE_STEPS, PREFILL_STEPS, padding_to_multiple
from descant.generation.runtimes.base import Runtime, Session
from descant.generation.runtimes.eager import prefill_chunks
from descant.generation.runtimes.packed_linears import PackedLinears
from descant.generation.runtimes.step_attention import (
    FoldedHeads,
    PlainHeads,
    StepContext,
    StepHeads,
    cross_attend,
    self_attend,
)
from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.kv_cache import LayerCache, StaticCache
from descant.nn.transformer import Block
from descant.shapes import Sequence


class PackedCpuRuntime(Runtime):
    """Decoding on a CPU. Weights are packed once, at first use, and again if they were changed since."""

    def __init__(self, lm: MusicLM) -> None:
        super().__init__(lm)
        self._linears = PackedLinears()

    def start(self, inputs: LMInputs, num_rows: int, max_steps: int) -> "PackedCpuSession":
        linears = self._linears
        if not linears.is_current():
            linears = self._linears = PackedLinears()
        return PackedCpuSession(self.lm, linears, inputs, num_rows, max_steps)


class PackedCpuSession(Session):
    """A batch, its KV cache, and tables for the attention of its steps."""

    def __init__(self, lm: MusicLM, linears: PackedLinears, inputs: LMInputs, num_rows: int, max_steps: int) -> None:
        self.lm, self.linears, self.inputs, self.num_rows = lm, linears, inputs, num_rows
        missing = padding_to_multiple(max_steps + inputs.prefix_steps, CACHE_STEPS)
        self.cache = lm.new_cache(num_rows, max_steps + missing, inputs)
        self.blocks = cast(list[Block], list(lm.blocks))
        self.heads = [self._heads_of(block) for block in self.blocks]
        self.contexts: list[StepContext] = []

    def prefill(self, sequence: Sequence) -> Float[Tensor, "B K V"]:
        length = sequence.shape[-1]
        # The first step goes in together with a prefix, as a sequence.
        num_chunked = length // PREFILL_STEPS * PREFILL_STEPS or min(1, self.inputs.prefix_steps)
        hidden = self._read_row_by_row(sequence[:, :, :num_chunked])
        later = [self.step(sequence[:, :, step : step + 1]) for step in range(num_chunked, length)]
        if later:
            return later[-1]
        # The heads read a single step, as after any other, or the rows of a chunk.
        return self._predict(torch.cat(hidden)) if length == 1 else torch.cat([*map(self.lm.predict, hidden)])[:, :, -1]

    def step(self, sequence: Int[Tensor, "B K 1"]) -> Float[Tensor, "B K V"]:
        hidden = self.lm.embed(sequence, self.inputs, start=self.cache.length)
        hidden, _ = self.lm.place(hidden, self.cache.next_positions(1))
        for index, block in enumerate(self.blocks):
            hidden = block.residual1(hidden, self._self_attention(index, block, block.norm1(hidden)))
            if self.contexts:
                hidden = block.residual_cross(hidden, self._cross_attention(index, block, block.norm_cross(hidden)))
            inner = F.gelu(self.linears(block.mlp.up, block.norm2(hidden)))
            hidden = block.residual2(hidden, self.linears(block.mlp.down, inner))
        return self._predict(self.lm.finish(hidden, self.inputs))

    def keep_rows(self, index: Int[Tensor, " rows"]) -> None:
        self.cache.keep_rows(index)
        self.inputs = self.inputs.rows(index)
        self._lay_out_contexts()

    def _heads_of(self, block: Block) -> StepHeads:
        positions = self.cache.positions
        rotary = positions if self.lm.config.transformer.positions == "rotary" else None
        cross = block.cross_attention if block.has_cross_attention else None
        if positions.dtype == torch.float32:
            return FoldedHeads(block.self_attention, cross, rotary, len(positions))
        return PlainHeads(block.self_attention, cross, rotary)

    def _read_row_by_row(self, sequence: Sequence) -> list[Float[Tensor, "1 S D"]]:
        """Fills the cache with the conditions and these steps; gives each row's hidden states of the last chunk."""
        hidden = []
        inputs = [self.inputs.rows(index) for index in torch.arange(self.num_rows).split(1)]
        caches = [self._row_cache(row) for row in range(self.num_rows)]
        for chunk in prefill_chunks(sequence):
            hidden = [*map(self.lm.hidden_states, chunk.split(1), inputs, caches)]
        for layer, *of_rows in zip(self.cache.layers, *(cache.layers for cache in caches), strict=True):
            layer.length = of_rows[0].length
            crosses = [of_row.cross for of_row in of_rows if of_row.cross is not None]
            if crosses:
                keys, values = zip(*crosses, strict=True)
                layer.cross = (torch.cat(keys), torch.cat(values))
        self._lay_out_contexts()
        return hidden

    def _row_cache(self, row: int) -> StaticCache:
        """A cache of one row, in the memory of this batch's, with the keys and values of the row's conditions."""
        rows = slice(row, row + 1)
        layers = [LayerCache(layer.keys[rows], layer.values[rows]) for layer in self.cache.layers]
        if self.cache.context is None:
            return StaticCache(layers, self.cache.positions)
        context = self.cache.context.rows(torch.tensor([row]))
        for block, layer in zip(self.blocks, layers, strict=True):
            layer.cross = block.cross_attention.keys_and_values(context)
        return StaticCache(layers, self.cache.positions, context)

    def _predict(self, hidden: Float[Tensor, "B 1 D"]) -> Float[Tensor, "B K V"]:
        return torch.stack([self.linears(head, hidden) for head in self.lm.heads], dim=1)[:, :, 0]

    def _lay_out_contexts(self) -> None:
        context = self.cache.context
        if context is not None:
            layers = [(heads, layer.cross) for heads, layer in zip(self.heads, self.cache.layers, strict=True)]
            self.contexts = [
                StepContext.of(heads.cross_keys(cross[0]), cross[1], context)
                for heads, cross in layers
                if cross is not None
            ]

    def _self_attention(self, index: int, block: Block, hidden: Float[Tensor, "B 1 D"]) -> Float[Tensor, "B 1 D"]:
        attention, layer = block.self_attention, self.cache.layers[index]
        queries, keys, values = self.heads[index].split(self.linears(attention.qkv, hidden), layer.length)
        return self.linears(attention.out, self_attend(queries, *layer.write(keys, values)))

    def _cross_attention(self, index: int, block: Block, hidden: Float[Tensor, "B 1 D"]) -> Float[Tensor, "B 1 D"]:
        attention = block.cross_attention
        queries = self.heads[index].cross_queries(self.linears(attention.qkv, hidden, attention.width))
        return self.linears(attention.out, cross_attend(queries, self.contexts[index]))
