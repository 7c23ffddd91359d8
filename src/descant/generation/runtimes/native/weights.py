"""The weights of a language model, packed for decoding."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant.generation.runtimes.native.packing import (
    PackedFormat,
    PackedWeight,
    exact_format,
    pack,
    padded,
)
from descant.lm.model import MusicLM
from descant.nn.attention import HeadNorm
from descant.nn.transformer import Block, Residual


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
        format: None packs each weight in the smallest format that holds it exactly.
    """

    def __init__(self, lm: MusicLM, format: PackedFormat | None) -> None:
        self._format = format
        self._marks = _marks(lm)
        self.blocks = [self._block(block) for block in lm.blocks]
        self.norm = _norm(lm.norm)
        heads = torch.cat([_padded_rows(head.get_parameter("weight")) for head in lm.heads])
        self.heads = self._pack(heads, "int8" if format == "int4" else format)
        self.num_codebooks = len(lm.embeddings)
        self.embeddings = padded_columns(
            torch.cat([embedding.get_parameter("weight") for embedding in lm.embeddings]).detach().float()
        )

    def is_current(self, lm: MusicLM) -> bool:
        """Whether the model's weights are still those that were packed."""
        return _marks(lm) == self._marks

    def matrices(self) -> Iterator[PackedWeight]:
        """The matrices that a step multiplies: all but those of the conditions' keys and values."""
        for block in self.blocks:
            yield from (block.attention.queries, block.attention.out, block.up, block.down)
            if block.cross is not None:
                yield from (block.cross.queries, block.cross.out)
        yield self.heads

    @property
    def formats(self) -> set[PackedFormat]:
        """The formats that occur."""
        return {weight.format for weight in self.matrices()}

    def _pack(self, weight: Float[Tensor, "O I"], format: PackedFormat | None) -> PackedWeight:
        return pack(weight, exact_format(weight) if format is None else format)

    def _block(self, block: nn.Module) -> PackedBlock:
        assert isinstance(block, Block)
        attention, format = block.self_attention, self._format
        cross = None
        if block.has_cross_attention:
            width = block.cross_attention.width
            cross = PackedAttention(
                norm=_norm(block.norm_cross),
                queries=self._pack(block.cross_attention.qkv.weight[:width], format),
                keys_values=self._pack(block.cross_attention.qkv.weight[width:], format),
                gains=_gains(block.cross_attention.norms),
                out=self._pack(block.cross_attention.out.weight, format),
                gain=_gain(block.residual_cross),
            )
        return PackedBlock(
            attention=PackedAttention(
                norm=_norm(block.norm1),
                queries=self._pack(attention.qkv.weight, format),
                keys_values=None,
                gains=_gains(attention.norms),
                out=self._pack(attention.out.weight, format),
                gain=_gain(block.residual1),
            ),
            cross=cross,
            norm=_norm(block.norm2),
            up=self._pack(block.mlp.up.weight, format),
            down=self._pack(block.mlp.down.weight, format),
            gain=_gain(block.residual2),
        )


def free_matrices(lm: MusicLM) -> None:
    """Leaves only the shapes of a model's matrices: their memory is free for other things."""
    for module in lm.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim == 2:
                shape = torch.empty_like(parameter, device="meta")
                module.register_parameter(name, nn.Parameter(shape, requires_grad=False))


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


def _marks(lm: MusicLM) -> list[tuple[int, int, float]]:
    """What changes when the weights do: their place, PyTorch's count of changes, and the sum of two rows, since fused
    optimisers change all weights without being counted."""
    return [
        (
            weight.data_ptr(),
            0 if weight.is_inference() else weight._version,
            float(weight.detach()[:2].double().sum()),
        )
        for weight in lm.parameters()
    ]
