"""The language model: which codes come next, given the codes so far and what they are to sound like."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.errors import ConfigError, InvalidRequest
from descant.lm.init import init_weights
from descant.nn.inputs import Context, LMInputs
from descant.nn.kv_cache import StaticCache
from descant.nn.linear import linear
from descant.nn.positions import rotary, sinusoidal
from descant.nn.transformer import Transformer, TransformerConfig
from descant.shapes import Logits, Sequence

MOST_CODEBOOKS = 512
"""Twice as many as a codec may have, for stereo."""


@dataclass(frozen=True, kw_only=True)
class LMConfig:
    """The defaults are MusicGen small (arXiv 2306.05284, section 3.1)."""

    num_codebooks: int = 4
    codebook_size: int = 2_048
    transformer: TransformerConfig = field(default_factory=TransformerConfig)

    def __post_init__(self) -> None:
        if min(self.num_codebooks, self.codebook_size) < 1:
            raise ConfigError(
                f"num_codebooks={self.num_codebooks}, codebook_size={self.codebook_size}: each must be at least 1"
            )
        if self.num_codebooks > MOST_CODEBOOKS:
            raise ConfigError(f"num_codebooks={self.num_codebooks}: at most {MOST_CODEBOOKS}")


class MusicLM(nn.Module):
    """K embeddings that are summed, a causal transformer, K heads.

    Position s of the output holds the logits of step s + 1: of all its codebooks at once, in whichever order a pattern
    has put the codes.
    """

    def __init__(self, config: LMConfig) -> None:
        if not config.transformer.is_causal:
            raise ConfigError("transformer.is_causal=False: a model that sees its future cannot generate")
        super().__init__()
        self.config = config
        width = config.transformer.width
        self.embeddings = nn.ModuleList(
            nn.Embedding(config.codebook_size + 1, width) for _ in range(config.num_codebooks)
        )
        self.blocks = Transformer(config.transformer)
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.heads = nn.ModuleList(
            nn.Linear(width, config.codebook_size, bias=False) for _ in range(config.num_codebooks)
        )
        init_weights(self.embeddings, self.blocks, self.heads)

    @property
    def special_code(self) -> int:
        """What stands in a cell that holds no code, the start token's cells included."""
        return self.config.codebook_size

    def new_cache(self, batch: int, max_steps: int, inputs: LMInputs | None = None) -> StaticCache:
        """An empty cache for ``batch`` sequences of up to ``max_steps`` steps, and for the prefix of ``inputs``."""
        transformer = self.config.transformer
        return StaticCache(
            num_layers=transformer.num_layers,
            batch=batch,
            num_heads=transformer.num_heads,
            head_dim=transformer.head_dim,
            positions=self._positions(max_steps + (inputs.prefix_steps if inputs is not None else 0)),
            dtype=self.norm.weight.dtype,
        )

    def forward(self, sequence: Sequence, inputs: LMInputs | None = None, cache: StaticCache | None = None) -> Logits:
        """Logits for the step after each of these steps.

        With a cache, ``sequence`` holds the new steps only, and ``inputs`` is the same in every call of a request: the
        prefix goes in with the first call, and the cross condition is read then and remembered.

        Raises:
            InvalidRequest: the steps do not fit into the cache, or this model has no cross-attention to read with.
        """
        inputs = inputs or LMInputs()
        num_steps = sequence.shape[-1]
        stream = sum(embed(codes) for embed, codes in zip(self.embeddings, sequence.unbind(1), strict=True))
        is_first = cache is None or cache.position == 0
        start = 0 if cache is None or is_first else cache.position - inputs.prefix_steps
        if inputs.sum is not None:
            stream = stream + _steps_of(inputs.sum, start, num_steps)
        if inputs.prefix is not None and is_first:
            stream = torch.cat([inputs.prefix, stream], dim=1)
        num_read = stream.shape[1]
        positions = self._positions(num_read) if cache is None else cache.next_positions(num_read)
        context = self._context(inputs, cache, is_first)
        if self.config.transformer.positions == "rotary":
            stream = self.blocks(stream, context, cache, turns=positions)
        else:
            stream = self.blocks(stream + positions.to(stream.dtype), context, cache)
        stream = self.norm(stream[:, -num_steps:])
        if inputs.output is not None:
            stream = stream + inputs.output
        product = linear if cache is None else cache.products
        return torch.stack([product(head, stream) for head in self.heads], dim=1)

    def _context(self, inputs: LMInputs, cache: StaticCache | None, is_first: bool) -> Context | None:
        if cache is not None and not is_first:
            return cache.context
        context = inputs.context()
        if context is not None and not self.config.transformer.has_cross_attention:
            raise InvalidRequest("this model has no cross-attention: give the condition as a prefix")
        if cache is not None:
            cache.context = context
        return context

    def _positions(self, num_steps: int) -> Float[Tensor, "S P"]:
        transformer, weight = self.config.transformer, self.norm.weight
        if transformer.positions == "rotary":
            return rotary(num_steps, transformer.head_dim, device=weight.device).to(weight.dtype)
        return sinusoidal(num_steps, transformer.width, device=weight.device).to(weight.dtype)


def _steps_of(summed: Float[Tensor, "B all D"], start: int, num_steps: int) -> Float[Tensor, "B new D"]:
    if summed.shape[1] == 1:
        return summed
    if start + num_steps > summed.shape[1]:
        raise InvalidRequest(
            f"the summed condition has {summed.shape[1]} steps, the sequence goes on to step {start + num_steps}: "
            "give one vector a step, or a single one for all"
        )
    return summed[:, start : start + num_steps]
