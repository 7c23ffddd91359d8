"""Self-attention over an optional KV cache, and cross-attention to conditions."""

from typing import Any

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant.nn.inputs import Context
from descant.nn.kv_cache import LayerCache
from descant.nn.linear import FusedLinear
from descant.nn.positions import rotate

NORM_EPSILON = 1e-6


class SelfAttention(nn.Module):
    """Attention of a sequence to itself: query, key and value from one matrix, no biases.

    Args:
        is_causal: a step attends to itself and to earlier steps only.
        qk_norm: RMS norm on queries and keys, head by head (arXiv 2302.05442 for why; not in the released models).
    """

    def __init__(
        self, width: int, num_heads: int, *, is_causal: bool = True, dropout: float = 0.0, qk_norm: bool = False
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.is_causal = is_causal
        self.dropout = dropout
        self.qkv = FusedLinear(width, 3 * width)
        self.out = nn.Linear(width, width, bias=False)
        self.norms = HeadNorm(width // num_heads) if qk_norm else None

    def forward(
        self,
        hidden: Float[Tensor, "B S D"],
        layer_cache: LayerCache | None = None,
        rotary: Float[Tensor, "S E"] | None = None,
    ) -> Float[Tensor, "B S D"]:
        """Each step's attention to the sequence and, with a cache, to the steps that the cache holds.

        Args:
            rotary: rotary positions of these steps, for a model that has them.
        """
        queries, keys, values = self.split(self.qkv(hidden), rotary)
        if layer_cache is not None:
            keys, values = layer_cache.write(keys, values)
        attended = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            dropout_p=self.dropout if self.training else 0.0,
            **self._causality(queries.shape[2], keys.shape[2], hidden.device),
        )
        return self.out(rearrange(attended, "B H S E -> B S (H E)"))

    def split(
        self, qkv: Float[Tensor, "B S three_D"], rotary: Float[Tensor, "S E"] | None
    ) -> tuple[Float[Tensor, "B H S E"], Float[Tensor, "B H S E"], Float[Tensor, "B H S E"]]:
        """Queries, keys and values by head; queries and keys normed and rotated where the model does that."""
        queries, keys, values = rearrange(qkv, "B S (qkv H E) -> qkv B H S E", qkv=3, H=self.num_heads)
        if self.norms is not None:
            queries, keys = self.norms.queries(queries), self.norms.keys(keys)
        if rotary is not None:
            queries, keys = rotate(queries, rotary), rotate(keys, rotary)
        return queries, keys, values

    def _causality(self, num_new: int, num_all: int, device: torch.device) -> dict[str, Any]:
        """The causal mask: none for a single step, which may attend to everything that is there."""
        if not self.is_causal or num_new == 1:
            return {}
        if num_new == num_all:
            return {"is_causal": True}
        return {"attn_mask": torch.ones(num_new, num_all, dtype=torch.bool, device=device).tril(num_all - num_new)}


class CrossAttention(nn.Module):
    """Attention of a sequence to conditions; one matrix holds the weights of query, key and value here too."""

    def __init__(self, width: int, num_heads: int, *, dropout: float = 0.0, qk_norm: bool = False) -> None:
        super().__init__()
        self.width = width
        self.num_heads = num_heads
        self.dropout = dropout
        self.qkv = FusedLinear(width, 3 * width)
        self.out = nn.Linear(width, width, bias=False)
        self.norms = HeadNorm(width // num_heads) if qk_norm else None

    def forward(
        self, hidden: Float[Tensor, "B S D"], context: Context, layer_cache: LayerCache | None = None
    ) -> Float[Tensor, "B S D"]:
        """Each step's attention to the conditions; with a cache their keys and values are computed only once."""
        queries = self.split_queries(self.qkv.part(hidden, 0, self.width))
        if layer_cache is None:
            keys, values = self.keys_and_values(context)
        else:
            if layer_cache.cross is None:
                layer_cache.cross = self.keys_and_values(context)
            keys, values = layer_cache.cross
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=context.mask, dropout_p=dropout)
        return self.out(rearrange(attended, "B H S E -> B S (H E)"))

    def split_queries(self, queries: Float[Tensor, "B S D"]) -> Float[Tensor, "B H S E"]:
        """Queries by head, normed where the model does that."""
        queries = rearrange(queries, "B S (H E) -> B H S E", H=self.num_heads)
        return queries if self.norms is None else self.norms.queries(queries)

    def keys_and_values(self, context: Context) -> tuple[Float[Tensor, "B H L E"], Float[Tensor, "B H L E"]]:
        """Keys and values of the conditions."""
        both = self.qkv.part(context.values, self.width)
        keys, values = rearrange(both, "B L (kv H E) -> kv B H L E", kv=2, H=self.num_heads)
        return (keys if self.norms is None else self.norms.keys(keys)), values


class HeadNorm(nn.Module):
    """RMS norm of queries and keys, head by head, in the precision that they come in."""

    def __init__(self, head_dim: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.ones(head_dim))
        self.key = nn.Parameter(torch.ones(head_dim))

    def queries(self, vectors: Float[Tensor, "B H S E"]) -> Float[Tensor, "B H S E"]:
        """Queries divided by their root mean square, times a learned gain."""
        return _unit_rms(vectors) * self.query.to(vectors.dtype)

    def keys(self, vectors: Float[Tensor, "B H S E"]) -> Float[Tensor, "B H S E"]:
        """The same of keys."""
        return _unit_rms(vectors) * self.key.to(vectors.dtype)


def _unit_rms(vectors: Float[Tensor, "B H S E"]) -> Float[Tensor, "B H S E"]:
    return F.rms_norm(vectors, vectors.shape[-1:], eps=NORM_EPSILON)
