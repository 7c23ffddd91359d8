"""Self-attention over an optional cache, and cross-attention to conditions."""

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant.nn.inputs import Context
from descant.nn.kv_cache import LayerCache
from descant.nn.linear import linear
from descant.nn.positions import rotate
from descant.nn.step import NORM_EPSILON, StepContext, StepTables, cross_attend, inverse_rms, is_plain_step, self_attend


class SelfAttention(nn.Module):
    """Attention of a sequence to itself: query, key and value from one matrix, no biases.

    Args:
        is_causal: a step sees itself and earlier steps only.
        qk_norm: RMS norm on queries and keys, head by head (arXiv 2302.05442 for why; not in the released models).
    """

    def __init__(
        self, width: int, num_heads: int, *, is_causal: bool = True, dropout: float = 0.0, qk_norm: bool = False
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.is_causal = is_causal
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norms = HeadNorm(width // num_heads) if qk_norm else None

    def forward(
        self, hidden: Float[Tensor, "B S D"], past: LayerCache | None = None, turns: Float[Tensor, "S E"] | None = None
    ) -> Float[Tensor, "B S D"]:
        """What each step draws from itself and, with a cache, from the steps that the cache holds.

        Args:
            turns: rotary positions of these steps, for a model that has them.
        """
        product = linear if past is None else past.products
        if past is not None and is_plain_step(hidden):
            return product(self.out, self._step(product(self.qkv, hidden), past, turns is not None))
        qkv = rearrange(product(self.qkv, hidden), "B S (qkv H E) -> qkv B H S E", qkv=3, H=self.num_heads)
        both, values = qkv[:2], qkv[2]
        if self.norms is not None:
            both = self.norms(both)
        if turns is not None:
            both = rotate(both, turns)
        queries, keys = both
        if past is not None:
            keys, values = past.write(keys, values)
        attended = attend(
            queries,
            keys,
            values,
            dropout=self.dropout if self.training else 0.0,
            **self._causality(queries.shape[2], keys.shape[2], hidden.device),
        )
        return product(self.out, rearrange(attended, "B H S E -> B S (H E)"))

    def _step(self, qkv: Float[Tensor, "B 1 three_D"], past: LayerCache, has_turns: bool) -> Float[Tensor, "B 1 D"]:
        if past.tables is None:
            gains = None if self.norms is None else torch.stack([self.norms.query, self.norms.key])
            shape = (len(past.positions), past.keys.shape[-1])
            past.tables = StepTables.of(gains, past.positions if has_turns else None, *shape)
        rows = qkv.view(len(qkv), 3, self.num_heads, -1)
        queries, keys = past.tables(rows[:, :2], past.length).unbind(1)
        all_keys, all_values = past.write(keys[:, :, None], rows[:, 2, :, None])
        return self_attend(queries, all_keys, all_values)

    def _causality(self, num_new: int, num_all: int, device: torch.device) -> dict[str, Any]:
        if not self.is_causal or num_new == 1:
            return {}
        if num_new == num_all:
            return {"is_causal": True}
        seen = torch.ones(num_new, num_all, dtype=torch.bool, device=device).tril(num_all - num_new)
        return {"mask": seen}


class CrossAttention(nn.Module):
    """Attention of a sequence to conditions; one matrix holds the weights of query, key and value here too."""

    def __init__(self, width: int, num_heads: int, *, dropout: float = 0.0, qk_norm: bool = False) -> None:
        super().__init__()
        self.width = width
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norms = HeadNorm(width // num_heads) if qk_norm else None

    def forward(
        self, hidden: Float[Tensor, "B S D"], context: Context, past: LayerCache | None = None
    ) -> Float[Tensor, "B S D"]:
        """What each step draws from the conditions; with a cache their keys and values are computed only once."""
        product = linear if past is None else past.products
        queries = product(self.qkv, hidden, num_outputs=self.width)
        if past is None:
            keys, values = self.read(context)
        else:
            if past.cross is None:
                # One row at a time, whose bits then cannot depend on the batch; and laid out once for the products of
                # every step, which would otherwise copy them each time.
                rows = [self.read(context.rows(index)) for index in torch.arange(len(context.values)).split(1)]
                keys, values = (torch.cat(of_rows) for of_rows in zip(*rows, strict=True))
                past.cross = (keys.contiguous(), values.contiguous())
            if is_plain_step(hidden):
                if past.context is None:
                    gains = None if self.norms is None else self.norms.query
                    past.context = StepContext.of(past.cross, context, gains)
                return product(self.out, cross_attend(queries, past.context, has_norm=self.norms is not None))
            keys, values = past.cross
        queries = rearrange(queries, "B S (H E) -> B H S E", H=self.num_heads)
        if self.norms is not None:
            queries = self.norms.queries(queries)
        attended = attend(queries, keys, values, mask=context.mask, dropout=self.dropout if self.training else 0.0)
        return product(self.out, rearrange(attended, "B H S E -> B S (H E)"))

    def read(self, context: Context) -> tuple[Float[Tensor, "B H L E"], Float[Tensor, "B H L E"]]:
        """Keys and values of the conditions."""
        both = F.linear(context.values, self.qkv.weight[self.width :])
        keys, values = rearrange(both, "B L (kv H E) -> kv B H L E", kv=2, H=self.num_heads)
        return (keys if self.norms is None else self.norms.keys(keys)), values


def attend(
    queries: Float[Tensor, "B H S E"],
    keys: Float[Tensor, "B H past E"],
    values: Float[Tensor, "B H past E"],
    *,
    mask: Bool[Tensor, "*rows past"] | None = None,
    is_causal: bool = False,
    dropout: float = 0.0,
) -> Float[Tensor, "B H S E"]:
    """Scaled dot-product attention; a query looks where ``mask`` is True, everywhere without one.

    On a CPU two cases are multiplied out by hand. Training in bfloat16: torch's fused kernel has none of the
    processor's bfloat16 instructions in its backward pass and takes twice as long (75 against 138 ms for 8 rows of 500
    steps, 4 heads of 64). A single step (those in float32 are left to `step.py`): the fused kernel is hardly faster,
    and on two or more threads a row's last bits change with the number of rows beside it, so that a request's codes
    would depend on its batch-mates.
    """
    is_by_hand = queries.shape[2] == 1 or (torch.is_grad_enabled() and torch.is_autocast_enabled("cpu"))
    if not (is_by_hand and queries.device.type == "cpu"):
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=is_causal, dropout_p=dropout
        )
    scores = torch.matmul(queries * queries.shape[-1] ** -0.5, keys.transpose(-1, -2))
    if is_causal:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if mask is not None and not torch.is_grad_enabled():
        scores.masked_fill_(~mask, -torch.inf)
    elif mask is not None:
        scores = scores + torch.zeros(mask.shape, dtype=scores.dtype).masked_fill(~mask, -torch.inf)
    return torch.matmul(F.dropout(scores.softmax(dim=-1), dropout), values)


class HeadNorm(nn.Module):
    """RMS norm of queries and keys, head by head, in the precision they come in."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.ones(head_dim))
        self.key = nn.Parameter(torch.ones(head_dim))

    def forward(self, both: Float[Tensor, "2 B H S E"]) -> Float[Tensor, "2 B H S E"]:
        """Queries and keys at once."""
        gains = rearrange([self.query, self.key], "two E -> two 1 1 1 E")
        return _unit_rms(both) * gains.to(both.dtype)

    def queries(self, vectors: Float[Tensor, "B H S E"]) -> Float[Tensor, "B H S E"]:
        """Queries alone."""
        return _unit_rms(vectors) * self.query.to(vectors.dtype)

    def keys(self, vectors: Float[Tensor, "B H S E"]) -> Float[Tensor, "B H S E"]:
        """Keys alone."""
        return _unit_rms(vectors) * self.key.to(vectors.dtype)


def _unit_rms(vectors: Float[Tensor, "*rows E"]) -> Float[Tensor, "*rows E"]:
    is_by_hand = vectors.device.type == "cpu" and vectors.dtype == torch.float32 and not torch.is_grad_enabled()
    if not is_by_hand:
        return F.rms_norm(vectors, vectors.shape[-1:], eps=NORM_EPSILON)
    # On a CPU torch does it in eight small operations.
    return vectors * inverse_rms(vectors)
