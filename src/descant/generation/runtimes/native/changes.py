"""Packed weights with the changes of adapters, which are kept in float32 beside them."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.adapters import LowRank
from descant.adapters.layers import AdaptedEmbedding, AdaptedLinear
from descant.generation.runtimes.native.packing import PackedWeight, pack, padded
from descant.generation.runtimes.native.weights import PackedBlock, PackedLM, padded_columns
from descant.lm.model import MusicLM
from descant.nn.transformer import Block


def with_changes(weights: PackedLM, lm: MusicLM) -> PackedLM:
    """The packed weights of a model together with what ``lm``, the same model with an adapter, adds to them. They are
    shared, not copied."""
    result = copy.copy(weights)
    blocks = zip(weights.blocks, cast(Sequence[Block], lm.blocks), strict=True)
    result.blocks = [_block(packed, block) for packed, block in blocks]
    size = padded(lm.config.codebook_size)
    of_heads = [head.changes[0] if isinstance(head, AdaptedLinear) else None for head in lm.heads]
    result.heads = replace(weights.heads, change=_packed(of_heads, [size] * len(of_heads), lm.config.transformer.width))
    result.embeddings = _embeddings(weights, lm)
    return result


def _embeddings(weights: PackedLM, lm: MusicLM) -> Float[Tensor, "entries D"]:
    """The embeddings of all codebooks, copied if one is changed: a step reads a row of each."""
    changes = [table.change if isinstance(table, AdaptedEmbedding) else None for table in lm.embeddings]
    if not any(changes):
        return weights.embeddings
    result = weights.embeddings.clone()
    for table, change in zip(result.chunk(len(changes)), changes, strict=True):
        if change is not None:
            table += padded_columns(change.dense().detach())
    return result


def _block(packed: PackedBlock, block: Block) -> PackedBlock:
    own, cross = block.self_attention, packed.cross
    if cross is not None and cross.keys_values is not None:
        attention = block.cross_attention
        cross = replace(
            cross,
            queries=_changed(cross.queries, attention.qkv, slice(0, 1)),
            keys_values=_changed(cross.keys_values, attention.qkv, slice(1, None)),
            out=_changed(cross.out, attention.out),
        )
    return replace(
        packed,
        attention=replace(
            packed.attention,
            queries=_changed(packed.attention.queries, own.qkv),
            out=_changed(packed.attention.out, own.out),
        ),
        cross=cross,
        up=_changed(packed.up, block.mlp.up),
        down=_changed(packed.down, block.mlp.down),
    )


def _changed(weight: PackedWeight, layer: nn.Module, maps: slice = slice(None)) -> PackedWeight:
    if not isinstance(layer, AdaptedLinear):
        return weight
    changes = layer.changes[maps]
    return replace(weight, change=_packed(changes, [layer.map_size] * len(changes), weight.num_inputs))


def _packed(
    changes: Sequence[LowRank | None], sizes: Sequence[int], num_inputs: int
) -> tuple[PackedWeight, PackedWeight] | None:
    """The changes of maps that are stacked in one matrix as one: ``up`` has a block for each, and zeros elsewhere.

    Args:
        sizes: the outputs of each map, or more, which get zeros.
    """
    rank = sum(len(change.down) for change in changes if change is not None)
    if rank == 0:
        return None
    down, up = torch.zeros(rank, num_inputs), torch.zeros(sum(sizes), rank)
    row = column = 0
    for change, size in zip(changes, sizes, strict=True):
        if change is not None:
            end = column + len(change.down)
            down[column:end] = change.down.detach()
            up[row : row + len(change.up), column:end] = change.scaled_up.detach()
            column = end
        row += size
    return pack(down, "fp32"), pack(up, "fp32")
