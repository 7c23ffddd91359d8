"""Attention of a single decoding step on a CPU: the same sums as in `attention.py`, in a third of the operations.

At a step a small model spends more time in starting operations than in calculating. So what stays the same for a whole
request is worked into tables once: gains, rotary positions and the scale of the scores, and into the keys of the
conditions. Each row is computed by itself, so that it has the same bits whatever stands beside it.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from descant.nn.inputs import Context

NORM_EPSILON = 1e-6


def is_plain_step(hidden: Float[Tensor, "B S D"]) -> bool:
    """Whether these functions may do it: one step on a CPU in float32, with nothing to be learned."""
    return (
        hidden.shape[1] == 1
        and hidden.device.type == "cpu"
        and hidden.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


@dataclass(frozen=True)
class StepTables:
    """By which queries and keys of every step are multiplied, queries first: themselves, and with halves swapped."""

    straight: Float[Tensor, "S 2 1 E"]
    swapped: Float[Tensor, "S 2 1 E"] | None
    has_norm: bool

    @staticmethod
    def of(
        norms: Float[Tensor, "2 E"] | None, turns: Float[Tensor, "S E"] | None, num_steps: int, head_dim: int
    ) -> "StepTables":
        """The tables of one layer.

        Args:
            norms: gains of queries and keys; None where they are not normed.
            turns: rotary positions; None where there are none.
        """
        gains = torch.ones(2, head_dim) if norms is None else norms
        gains = gains * torch.tensor([[head_dim**-0.5], [1.0]])
        if turns is None:
            return StepTables(gains.expand(num_steps, 2, head_dim)[:, :, None], None, norms is not None)
        cosines, sines = (half[:, None] for half in turns.chunk(2, dim=-1))
        first, second = gains.chunk(2, dim=-1)
        straight = gains * torch.cat([cosines, cosines], dim=-1)
        swapped = torch.cat([-second * sines, first * sines], dim=-1)
        return StepTables(straight[:, :, None], swapped[:, :, None], norms is not None)

    def __call__(self, both: Float[Tensor, "B 2 H E"], step: int) -> Float[Tensor, "B 2 H E"]:
        """Queries and keys of a step, normed, turned, and the queries scaled."""
        turned = both * self.straight[step]
        if self.swapped is not None:
            first, second = both.chunk(2, dim=-1)
            turned = torch.addcmul(turned, torch.cat([second, first], dim=-1), self.swapped[step])
        return turned * inverse_rms(both) if self.has_norm else turned


@dataclass(frozen=True)
class StepContext:
    """The conditions of one layer, laid out for steps; keys hold the queries' gain and the scale of the scores."""

    keys: Float[Tensor, "BH E L"]
    values: Float[Tensor, "BH L E"]
    bias: Float[Tensor, "BH 1 L"]

    @staticmethod
    def of(
        cross: tuple[Float[Tensor, "B H L E"], Float[Tensor, "B H L E"]],
        context: Context,
        norms: Float[Tensor, " E"] | None,
    ) -> "StepContext":
        """From the keys and values that cross-attention reads; ``norms`` are the gains of queries."""
        keys, values = cross
        head_dim = keys.shape[-1]
        scaled = keys * (head_dim**-0.5 if norms is None else norms * head_dim**-0.5)
        mask = context.mask.expand(-1, keys.shape[1], -1, -1)
        bias = torch.zeros(mask.shape).masked_fill(~mask, -torch.inf)
        return StepContext(
            rearrange(scaled, "B H L E -> (B H) E L").contiguous(),
            rearrange(values, "B H L E -> (B H) L E").contiguous(),
            rearrange(bias, "B H one L -> (B H) one L").contiguous(),
        )


def self_attend(
    queries: Float[Tensor, "B H E"], keys: Float[Tensor, "B H past E"], values: Float[Tensor, "B H past E"]
) -> Float[Tensor, "B 1 D"]:
    """What one step draws from all before it; queries are scaled."""
    scores = torch.bmm(queries.reshape(-1, 1, queries.shape[-1]), keys.flatten(0, 1).transpose(1, 2))
    return torch.bmm(scores.softmax(dim=-1), values.flatten(0, 1)).view(len(queries), 1, -1)


def cross_attend(queries: Float[Tensor, "B 1 D"], context: StepContext, *, has_norm: bool) -> Float[Tensor, "B 1 D"]:
    """What one step draws from the conditions."""
    heads = queries.view(len(context.keys), 1, -1)
    if has_norm:
        heads = heads * inverse_rms(heads)
    scores = torch.baddbmm(context.bias, heads, context.keys)
    return torch.bmm(scores.softmax(dim=-1), context.values).view(queries.shape)


def inverse_rms(vectors: Float[Tensor, "*rows E"]) -> Float[Tensor, "*rows 1"]:
    """What RMS norm multiplies each vector with; nothing is learned through it."""
    squares = (vectors * vectors).sum(dim=-1, keepdim=True)
    return squares.mul_(1 / vectors.shape[-1]).add_(NORM_EPSILON).rsqrt_()
