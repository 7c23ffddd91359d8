"""The encoder half of T5 and FLAN-T5 as a function of its weights (arXiv 1910.10683, section 2.1; 2002.05202).

Each weight is taken, in float32, when it is multiplied: weights in half precision or on disk need no second copy. The
names are transformers'. Bits are those of transformers' network too.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from descant.conditioning.encoders.weights import Weights
from descant.errors import ConfigError

EMBEDDING = "shared.weight"
FINAL_NORM = "encoder.final_layer_norm.weight"
POSITIONS = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"


def gelu_new(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """GELU by its approximation with tanh (arXiv 1606.08415)."""
    inner = math.sqrt(2.0 / math.pi) * (values + 0.044715 * torch.pow(values, 3.0))
    return 0.5 * values * (1.0 + torch.tanh(inner))


ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": gelu_new,
    "silu": F.silu,
}


@dataclass(frozen=True, kw_only=True)
class T5Config:
    """The fields of transformers' config that the encoder's shape and results depend on.

    Args:
        layer_norm_epsilon: added to the mean square.
        is_gated_act: the MLP multiplies activated hidden units with others that are not (FLAN-T5).
    """

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_heads: int
    relative_attention_num_buckets: int
    relative_attention_max_distance: int
    layer_norm_epsilon: float
    dense_act_fn: str
    is_gated_act: bool

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads", "relative_attention_max_distance")
        for name in sizes:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")
        if self.relative_attention_num_buckets < 4:
            raise ConfigError(
                f"relative_attention_num_buckets={self.relative_attention_num_buckets}: must be at least 4"
            )
        if self.dense_act_fn not in ACTIVATIONS:
            raise ConfigError(
                f"dense_act_fn={self.dense_act_fn!r:.80}: no such activation; allowed are {', '.join(ACTIVATIONS)}"
            )

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "T5Config":
        """The same of a whole config of transformers.

        Raises:
            ConfigError: a value is impossible.
        """
        return cls(**{name: plain[name] for name in cls.__dataclass_fields__})

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of every weight."""
        inner = self.num_heads * self.d_kv
        shapes: dict[str, tuple[int, ...]] = {
            EMBEDDING: (self.vocab_size, self.d_model),
            POSITIONS: (self.relative_attention_num_buckets, self.num_heads),
            FINAL_NORM: (self.d_model,),
        }
        for layer in range(self.num_layers):
            attention, mlp = (f"encoder.block.{layer}.layer.{part}" for part in (0, 1))
            for name in "qkv":
                shapes[f"{attention}.SelfAttention.{name}.weight"] = (inner, self.d_model)
            shapes[f"{attention}.SelfAttention.o.weight"] = (self.d_model, inner)
            for name in ("wi_0", "wi_1") if self.is_gated_act else ("wi",):
                shapes[f"{mlp}.DenseReluDense.{name}.weight"] = (self.d_ff, self.d_model)
            shapes[f"{mlp}.DenseReluDense.wo.weight"] = (self.d_model, self.d_ff)
            shapes |= {f"{part}.layer_norm.weight": (self.d_model,) for part in (attention, mlp)}
        return shapes


class T5Network:
    """The function. It keeps nothing of a call, so threads may share it."""

    def __init__(self, config: T5Config, weights: Weights) -> None:
        self.config, self.weights = config, weights
        self._activation = ACTIVATIONS[config.dense_act_fn]

    def __call__(self, token_ids: Int[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """A vector for each token of texts that have one length."""
        hidden = self.weights.rows(EMBEDDING, token_ids.flatten()).float().unflatten(0, tuple(token_ids.shape))
        bias = self._position_bias(token_ids.shape[1], token_ids.device)
        for layer in range(self.config.num_layers):
            name = f"encoder.block.{layer}.layer"
            hidden = hidden + self._attention(f"{name}.0.SelfAttention", self._norm(f"{name}.0", hidden), bias)
            hidden = hidden + self._mlp(f"{name}.1.DenseReluDense", self._norm(f"{name}.1", hidden))
        return self._normed(hidden, FINAL_NORM)

    def _norm(self, name: str, hidden: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        return self._normed(hidden, f"{name}.layer_norm.weight")

    def _normed(self, hidden: Float[Tensor, "B L D"], name: str) -> Float[Tensor, "B L D"]:
        scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self.config.layer_norm_epsilon)
        return self.weights[name].float() * (hidden * scale)

    def _linear(self, hidden: Float[Tensor, "B L I"], name: str) -> Float[Tensor, "B L O"]:
        return F.linear(hidden, self.weights[f"{name}.weight"].float())

    def _attention(
        self, name: str, hidden: Float[Tensor, "B L D"], bias: Float[Tensor, "1 H L L"]
    ) -> Float[Tensor, "B L D"]:
        queries, keys, values = (
            self._linear(hidden, f"{name}.{part}").unflatten(2, (-1, self.config.d_kv)).transpose(1, 2)
            for part in "qkv"
        )
        # Without the usual scale, which T5 has in its initial weights.
        attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, scale=1.0)
        return self._linear(attended.transpose(1, 2).flatten(2), f"{name}.o")

    def _mlp(self, name: str, hidden: Float[Tensor, "B L D"]) -> Float[Tensor, "B L D"]:
        if self.config.is_gated_act:
            inner = self._activation(self._linear(hidden, f"{name}.wi_0")) * self._linear(hidden, f"{name}.wi_1")
        else:
            inner = self._activation(self._linear(hidden, f"{name}.wi"))
        return self._linear(inner, f"{name}.wo")

    def _position_bias(self, length: int, device: torch.device) -> Float[Tensor, "1 H L L"]:
        """What is added to the scores: learned for each head, by the distance of two tokens."""
        places = torch.arange(length, device=device)
        buckets = self._buckets(places[None, :] - places[:, None])
        return self.weights[POSITIONS].float()[buckets].permute(2, 0, 1)[None].contiguous()

    def _buckets(self, distances: Int[Tensor, "L L"]) -> Int[Tensor, "L L"]:
        """Half of the buckets for each direction; of these, half for one distance each, and the others for ranges that
        grow exponentially up to the largest distance."""
        half = self.config.relative_attention_num_buckets // 2
        num_exact = half // 2
        far = distances.abs()
        growth = math.log(self.config.relative_attention_max_distance / num_exact)
        ranges = num_exact + (torch.log(far.float() / num_exact) / growth * (half - num_exact)).to(torch.long)
        return half * (distances > 0) + torch.where(far < num_exact, far, ranges.clamp(max=half - 1))
