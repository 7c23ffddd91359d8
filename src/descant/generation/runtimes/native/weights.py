"""The weights of a language model, packed for decoding."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant.generation.runtimes.native.packing import (
    ROUNDED,
    PackedFormat,
    PackedWeight,
    Rounding,
    exact_format,
    pack,
    padded,
)
from descant.lm.model import MusicLM
from descant.nn.attention import HeadNorm
from descant.nn.meta import shape_of
from descant.nn.prepared import marks_of
from descant.nn.transformer import Block, Residual

PackedMatrices: TypeAlias = Mapping[str, tuple[PackedWeight, ...]]
"""Matrices of the layers, by their names in the language model."""


@dataclass(frozen=True)
class PackedNorm:
    """Weight and bias of a layer norm, padded with zeros."""

    weight: Float[Tensor, " D"]
    bias: Float[Tensor, " D"]


@dataclass(frozen=True)
class PackedAttention:
    """One attention: the product before it, gains of queries and keys, and the product after it.

    Args:
        gain: what the output is multiplied with before it is added to the hidden states.
    """

    norm: PackedNorm
    queries: PackedWeight
    keys_values: PackedWeight | None
    gains: Float[Tensor, "2 E"]
    out: PackedWeight
    gain: float


@dataclass(frozen=True)
class PackedBlock:
    """One layer. In self-attention ``queries`` holds the weights of keys and values too."""

    attention: PackedAttention
    cross: PackedAttention | None
    norm: PackedNorm
    up: PackedWeight
    down: PackedWeight
    gain: float


class PackedLM:
    """All packed weights, and the embeddings of all codebooks, one after another, padded with zeros.

    Args:
        rounding: what the weights are rounded to; the heads keep int8 with int4. None packs each weight in the
            smallest format that holds it exactly.
        packed: matrices that were rounded and packed already (``pack_matrix``); the model has only their shapes.
    """

    def __init__(self, lm: MusicLM, rounding: Rounding | None, packed: PackedMatrices | None = None) -> None:
        self._rounding = rounding
        self._packed = packed or {}
        self._marks = [] if rounding is not None else marks_of(lm)
        self.blocks = [self._block(f"blocks.{index}", block) for index, block in enumerate(lm.blocks)]
        self.norm = _norm(lm.norm)
        heads = torch.cat([_padded_rows(head.get_parameter("weight")) for head in lm.heads])
        self.heads = _pack(heads, "int8" if rounding == "int4" else rounding)
        self.num_codebooks = len(lm.embeddings)
        self.embeddings = padded_columns(
            torch.cat([embedding.get_parameter("weight") for embedding in lm.embeddings]).detach().float()
        )

    def is_current(self, lm: MusicLM) -> bool:
        """Whether the model's weights are still those that were packed."""
        return marks_of(lm) == self._marks

    def matrices(self) -> Iterator[PackedWeight]:
        """The matrices that a step multiplies: all but those of the conditions' keys and values."""
        for block in self.blocks:
            yield from (block.attention.queries, block.attention.out, block.up, block.down)
            if block.cross is not None:
                yield from (block.cross.queries, block.cross.out)
        yield self.heads

    @property
    def num_bytes(self) -> int:
        """The bytes of weights that a step reads."""
        return sum(weight.num_bytes for weight in self.matrices())

    @property
    def max_rank(self) -> int:
        """The largest rank of a change of a matrix; 0 without adapters."""
        keys_values = [block.cross.keys_values for block in self.blocks if block.cross is not None]
        weights = [*self.matrices(), *(weight for weight in keys_values if weight is not None)]
        return max(0 if weight.change is None else weight.change[0].num_outputs for weight in weights)

    @property
    def formats(self) -> set[PackedFormat]:
        """The formats that occur."""
        return {weight.format for weight in self.matrices()}

    def _matrix(self, name: str, weight: Float[Tensor, "O I"]) -> tuple[PackedWeight, ...]:
        return self._packed[name] if name in self._packed else pack_matrix(name, weight, self._rounding)

    def _block(self, name: str, block: nn.Module) -> PackedBlock:
        assert isinstance(block, Block)

        def packed(part: str) -> tuple[PackedWeight, ...]:
            return self._matrix(f"{name}.{part}", block.get_parameter(part))

        cross = None
        if block.has_cross_attention:
            queries, keys_values = packed(CROSS_ATTENTION)
            cross = PackedAttention(
                norm=_norm(block.norm_cross),
                queries=queries,
                keys_values=keys_values,
                gains=_gains(block.cross_attention.norms),
                out=packed("cross_attention.out.weight")[0],
                gain=_gain(block.residual_cross),
            )
        return PackedBlock(
            attention=PackedAttention(
                norm=_norm(block.norm1),
                queries=packed("self_attention.qkv.weight")[0],
                keys_values=None,
                gains=_gains(block.self_attention.norms),
                out=packed("self_attention.out.weight")[0],
                gain=_gain(block.residual1),
            ),
            cross=cross,
            norm=_norm(block.norm2),
            up=packed("mlp.up.weight")[0],
            down=packed("mlp.down.weight")[0],
            gain=_gain(block.residual2),
        )


CROSS_ATTENTION = "cross_attention.qkv.weight"


def is_matrix_of_layer(name: str, tensor: Tensor) -> bool:
    """Whether a tensor of a language model is one that ``pack_matrix`` packs: nearly all of its memory is."""
    return name.startswith("blocks.") and tensor.ndim == 2


def pack_matrix(name: str, weight: Float[Tensor, "O I"], rounding: Rounding | None) -> tuple[PackedWeight, ...]:
    """A matrix of a layer as decoding reads it: that of cross-attention in two parts, queries, and keys with values."""
    num_queries = len(weight) // 3 if name.endswith(CROSS_ATTENTION) else len(weight)
    return tuple(_pack(part, rounding) for part in (weight[:num_queries], weight[num_queries:]) if len(part))


def _pack(weight: Float[Tensor, "O I"], rounding: Rounding | None) -> PackedWeight:
    return pack(weight, exact_format(weight) if rounding is None else ROUNDED[rounding])


def pack_matrices(lm: MusicLM, rounding: Rounding) -> PackedMatrices:
    """The matrices of all layers; each is freed as soon as it is packed, only its shape stays."""
    packed = {}
    for name, parameter in [*lm.named_parameters()]:
        if is_matrix_of_layer(name, parameter):
            packed[name] = pack_matrix(name, parameter, rounding)
            _free(lm, name)
    return packed


def free_matrices(lm: MusicLM) -> None:
    """Leaves only the shapes of a model's matrices: their memory is free for other things."""
    for name, parameter in [*lm.named_parameters()]:
        if parameter.ndim == 2:
            _free(lm, name)


def _free(lm: MusicLM, name: str) -> None:
    of_module, _, last = name.rpartition(".")
    shape = nn.Parameter(shape_of(lm.get_parameter(name)), requires_grad=False)
    lm.get_submodule(of_module).register_parameter(last, shape)


def _padded_rows(weight: Float[Tensor, "O I"]) -> Float[Tensor, "padded I"]:
    return F.pad(weight.detach(), (0, 0, 0, padded(len(weight)) - len(weight)))


def padded_columns(vectors: Float[Tensor, "n D"]) -> Float[Tensor, "n padded"]:
    """The vectors padded with zeros, side by side in memory."""
    missing = padded(vectors.shape[1]) - vectors.shape[1]
    return F.pad(vectors, (0, missing)) if missing else vectors.contiguous()


def _norm(norm: nn.LayerNorm) -> PackedNorm:
    missing = padded(len(norm.weight)) - len(norm.weight)
    weight, bias = (F.pad(vector.detach().float(), (0, missing)).contiguous() for vector in (norm.weight, norm.bias))
    return PackedNorm(weight, bias)


def _gains(norms: HeadNorm | None) -> Float[Tensor, "2 E"]:
    return torch.empty(2, 0) if norms is None else torch.stack([norms.query, norms.key]).detach().float()


def _gain(residual: Residual) -> float:
    return 1.0 if residual.scale is None else float(residual.scale)
