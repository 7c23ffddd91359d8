"""Attention of a single decoding step on a CPU: the sums of `nn/attention.py`, multiplied out.

PyTorch's fused kernel is hardly faster for one step, and on two or more threads a row's last bits change with the
number of rows in the batch, so that a request's codes would depend on its batch-mates. Here each row is computed by
itself.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from descant.nn.attention import NORM_EPSILON, CrossAttention, HeadNorm, SelfAttention
from descant.nn.inputs import Context

Heads = Float[Tensor, "B H 1 E"]


@dataclass(frozen=True)
class StepContext:
    """The conditions of one layer, laid out for steps."""

    keys: Float[Tensor, "BH E L"]
    values: Float[Tensor, "BH L E"]
    bias: Float[Tensor, "BH 1 L"]

    @staticmethod
    def of(keys: Float[Tensor, "B H L E"], values: Float[Tensor, "B H L E"], context: Context) -> "StepContext":
        """Made contiguous once: the products of every step would otherwise copy them."""
        mask = context.mask.expand(-1, keys.shape[1], -1, -1)
        bias = torch.zeros(mask.shape, dtype=keys.dtype).masked_fill(~mask, -torch.inf)
        return StepContext(
            rearrange(keys, "B H L E -> (B H) E L").contiguous(),
            rearrange(values, "B H L E -> (B H) L E").contiguous(),
            rearrange(bias, "B H one L -> (B H) one L").contiguous(),
        )


class StepHeads(ABC):
    """Queries, keys and values of one step in one layer; queries are scaled."""

    @abstractmethod
    def split(self, qkv: Float[Tensor, "B 1 three_D"], step: int) -> tuple[Heads, Heads, Heads]:
        """Of self-attention, at a step."""

    @abstractmethod
    def cross_queries(self, queries: Float[Tensor, "B 1 D"]) -> Heads:
        """Of cross-attention; in `FoldedHeads` the scale is in the keys."""

    @abstractmethod
    def cross_keys(self, keys: Float[Tensor, "B H L E"]) -> Float[Tensor, "B H L E"]:
        """The conditions' keys, as ``cross_queries`` needs them."""


class PlainHeads(StepHeads):
    """The operations of `nn/attention.py` in their order: for half precisions, where another order rounds otherwise."""

    def __init__(
        self, attention: SelfAttention, cross: CrossAttention | None, rotary: Float[Tensor, "S E"] | None
    ) -> None:
        self.attention, self.cross, self.rotary = attention, cross, rotary

    def split(self, qkv: Float[Tensor, "B 1 three_D"], step: int) -> tuple[Heads, Heads, Heads]:
        queries, keys, values = self.attention.split(qkv, None if self.rotary is None else self.rotary[step : step + 1])
        return queries * queries.shape[-1] ** -0.5, keys, values

    def cross_queries(self, queries: Float[Tensor, "B 1 D"]) -> Heads:
        assert self.cross is not None
        heads = self.cross.split_queries(queries)
        return heads * heads.shape[-1] ** -0.5

    def cross_keys(self, keys: Float[Tensor, "B H L E"]) -> Float[Tensor, "B H L E"]:
        return keys


class FoldedHeads(StepHeads):
    """The same in a third of the operations, for float32.

    At a step a small model spends more time in starting operations than in calculating. So whatever stays the same for
    a whole request is multiplied once into tables: gains, rotary positions and the scale of the scores, and into the
    keys of the conditions. ``straight`` multiplies queries and keys, queries first, ``swapped`` multiplies them with
    their halves swapped.
    """

    def __init__(
        self,
        attention: SelfAttention,
        cross: CrossAttention | None,
        rotary: Float[Tensor, "S E"] | None,
        num_steps: int,
    ) -> None:
        self.num_heads = attention.num_heads
        self.has_norm = attention.norms is not None
        self.scale = (attention.qkv.in_features // attention.num_heads) ** -0.5
        self.cross_norms = None if cross is None else cross.norms
        gains = self._gains(attention.norms, attention.qkv.in_features // attention.num_heads)
        self.swapped: Float[Tensor, "S 2 1 E"] | None = None
        if rotary is None:
            self.straight = gains.expand(num_steps, *gains.shape)[:, :, None]
            return
        cosines, sines = (half[:, None] for half in rotary.chunk(2, dim=-1))
        first, second = gains.chunk(2, dim=-1)
        self.straight = (gains * torch.cat([cosines, cosines], dim=-1))[:, :, None]
        self.swapped = torch.cat([-second * sines, first * sines], dim=-1)[:, :, None]

    def _gains(self, norms: HeadNorm | None, head_dim: int) -> Float[Tensor, "2 E"]:
        gains = torch.ones(2, head_dim) if norms is None else torch.stack([norms.query, norms.key])
        return gains * torch.tensor([[self.scale], [1.0]])

    def split(self, qkv: Float[Tensor, "B 1 three_D"], step: int) -> tuple[Heads, Heads, Heads]:
        rows = qkv.view(len(qkv), 3, self.num_heads, -1)
        both = rows[:, :2]
        folded = both * self.straight[step]
        if self.swapped is not None:
            first, second = both.chunk(2, dim=-1)
            folded = torch.addcmul(folded, torch.cat([second, first], dim=-1), self.swapped[step])
        if self.has_norm:
            folded = folded * inverse_rms(both)
        queries, keys = folded.unbind(1)
        return queries[:, :, None], keys[:, :, None], rows[:, 2, :, None]

    def cross_queries(self, queries: Float[Tensor, "B 1 D"]) -> Heads:
        heads = queries.view(len(queries), self.num_heads, 1, -1)
        return heads if self.cross_norms is None else heads * inverse_rms(heads)

    def cross_keys(self, keys: Float[Tensor, "B H L E"]) -> Float[Tensor, "B H L E"]:
        return keys * (self.scale if self.cross_norms is None else self.cross_norms.query * self.scale)


def self_attend(
    queries: Heads, keys: Float[Tensor, "B H all E"], values: Float[Tensor, "B H all E"]
) -> Float[Tensor, "B 1 D"]:
    """Attention of one step to all steps so far; queries are scaled."""
    scores = torch.bmm(queries.reshape(-1, 1, queries.shape[-1]), keys.flatten(0, 1).transpose(1, 2))
    return torch.bmm(scores.softmax(dim=-1), values.flatten(0, 1)).view(len(queries), 1, -1)


def cross_attend(queries: Heads, context: StepContext) -> Float[Tensor, "B 1 D"]:
    """Attention of one step to the conditions; queries or keys are scaled."""
    scores = torch.baddbmm(context.bias, queries.view(len(context.keys), 1, -1), context.keys)
    return torch.bmm(scores.softmax(dim=-1), context.values).view(len(queries), 1, -1)


def inverse_rms(vectors: Float[Tensor, "*rows E"]) -> Float[Tensor, "*rows 1"]:
    """The factor of RMS norm for each vector, in fewer operations than PyTorch's; without gradients."""
    squares = (vectors * vectors).sum(dim=-1, keepdim=True)
    return squares.mul_(1 / vectors.shape[-1]).add_(NORM_EPSILON).rsqrt_()
