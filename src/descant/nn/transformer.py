"""The transformer of MusicGen: pre-norm blocks of self-attention, cross-attention and an MLP, without biases."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant.errors import ConfigError
from descant.nn.attention import CrossAttention, SelfAttention
from descant.nn.inputs import Context
from descant.nn.kv_cache import LayerCache, StaticCache

MOST_LAYERS = 1_024
"""A config with more is invalid: layers take time to build even where they take no memory."""


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The defaults are MusicGen small (arXiv 2306.05284, section 3.1; audiocraft's musicgen_lm.yaml).

    ``qk_norm``, ``residual_scale`` and rotary positions are for new models; the released ones have none of them.

    Args:
        mlp_scale: width of the MLP's hidden layer as a multiple of ``width``.
        has_cross_attention: False where conditions come as a prefix.
        qk_norm: RMS norm on queries and keys.
        residual_scale: a learned scalar, 1 at first, on the output of each branch.
        positions: sinusoidal ones are added to the hidden states, rotary ones rotate queries and keys of
            self-attention.
    """

    width: int = 1_024
    num_heads: int = 16
    num_layers: int = 24
    mlp_scale: int = 4
    has_cross_attention: bool = True
    is_causal: bool = True
    dropout: float = 0.0
    qk_norm: bool = False
    residual_scale: bool = False
    positions: Literal["sinusoidal", "rotary"] = "sinusoidal"

    def __post_init__(self) -> None:
        if min(self.width, self.num_heads, self.num_layers, self.mlp_scale) < 1:
            raise ConfigError(
                f"width={self.width}, num_heads={self.num_heads}, num_layers={self.num_layers}, "
                f"mlp_scale={self.mlp_scale}: each must be at least 1"
            )
        if self.num_layers > MOST_LAYERS:
            raise ConfigError(f"num_layers={self.num_layers}: at most {MOST_LAYERS}")
        if self.width % self.num_heads or self.width % 2:
            raise ConfigError(
                f"width={self.width} must be even, for the positions, and a multiple of num_heads={self.num_heads}"
            )
        if self.positions not in ("sinusoidal", "rotary"):
            raise ConfigError(f"positions={self.positions!r}: allowed are sinusoidal and rotary")
        if self.positions == "rotary" and self.head_dim % 2:
            raise ConfigError(f"heads of {self.head_dim}: rotary positions rotate pairs, so the width must be even")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout={self.dropout:g}: must be at least 0 and below 1")

    @property
    def head_dim(self) -> int:
        """Width of one attention head: 64 in every released model."""
        return self.width // self.num_heads


class MLP(nn.Module):
    """Two linear layers around an exact GELU (the paper says ReLU; code and released weights have GELU)."""

    def __init__(self, width: int, scale: int, dropout: float) -> None:
        super().__init__()
        self.up = nn.Linear(width, scale * width, bias=False)
        self.down = nn.Linear(scale * width, width, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        return self.down(self.dropout(F.gelu(self.up(hidden))))


class Residual(nn.Module):
    """Adds the output of a branch to the hidden states, through dropout and a learned scale if the config has them."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.dropout = config.dropout
        # One element rather than none: FSDP2 shards along the first dimension.
        self.scale = nn.Parameter(torch.ones(1)) if config.residual_scale else None

    def forward(self, hidden: Float[Tensor, "B S D"], branch: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        if self.scale is not None:
            branch = branch * self.scale
        return hidden + F.dropout(branch, self.dropout, self.training)


class Block(nn.Module):
    """One layer: x + self_attention(norm1(x)), then + cross_attention(norm_cross(x)), then + mlp(norm2(x))."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        width, heads = config.width, config.num_heads
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.self_attention = SelfAttention(
            width, heads, is_causal=config.is_causal, dropout=config.dropout, qk_norm=config.qk_norm
        )
        self.residual1 = Residual(config)
        self.has_cross_attention = config.has_cross_attention
        if config.has_cross_attention:
            self.norm_cross = nn.LayerNorm(width, eps=1e-5)
            self.cross_attention = CrossAttention(width, heads, dropout=config.dropout, qk_norm=config.qk_norm)
            self.residual_cross = Residual(config)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.mlp = MLP(width, config.mlp_scale, config.dropout)
        self.residual2 = Residual(config)

    def forward(
        self,
        hidden: Float[Tensor, "B S D"],
        context: Context | None = None,
        layer_cache: LayerCache | None = None,
        rotary: Float[Tensor, "S E"] | None = None,
    ) -> Float[Tensor, "B S D"]:
        """The hidden states after this layer. Without a context cross-attention adds nothing: the null condition."""
        hidden = self.residual1(hidden, self.self_attention(self.norm1(hidden), layer_cache, rotary))
        if self.has_cross_attention and context is not None:
            attended = self.cross_attention(self.norm_cross(hidden), context, layer_cache)
            hidden = self.residual_cross(hidden, attended)
        return self.residual2(hidden, self.mlp(self.norm2(hidden)))


class Transformer(nn.ModuleList):
    """The blocks, run one after another. It has no last norm, and no positions but the rotary ones that it is given."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(Block(config) for _ in range(config.num_layers))

    def forward(
        self,
        hidden: Float[Tensor, "B S D"],
        context: Context | None = None,
        cache: StaticCache | None = None,
        rotary: Float[Tensor, "S E"] | None = None,
    ) -> Float[Tensor, "B S D"]:
        """The hidden states after all layers; a cache grows by the steps given here.

        Args:
            rotary: rotary positions of these steps, for a model that has them.
        """
        layer_caches = [None] * len(self) if cache is None else cache.layers
        for block, layer_cache in zip(self, layer_caches, strict=True):
            hidden = block(hidden, context, layer_cache, rotary)
        return hidden
