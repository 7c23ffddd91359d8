"""The language model: the next codes, given the codes so far and the conditions."""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.errors import ConfigError, InvalidRequest
from descant.lm.init import init_weights
from descant.nn.inputs import Context, LMInputs
from descant.nn.kv_cache import LayerCache, StaticCache
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
            raise ConfigError("transformer.is_causal=False: a model that attends to later steps cannot generate")
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
        """The index that stands in cells without a code, among them those of the start token."""
        return self.config.codebook_size

    def new_cache(self, batch: int, max_steps: int, inputs: LMInputs | None = None) -> StaticCache:
        """An empty cache for ``batch`` sequences of up to ``max_steps`` steps, and for the prefix of ``inputs``."""
        inputs = inputs or LMInputs()
        transformer, weight = self.config.transformer, self.norm.weight
        positions = self.positions(max_steps + inputs.prefix_steps)
        shape = (batch, transformer.num_heads, len(positions), transformer.head_dim)
        layers = [LayerCache(weight.new_zeros(shape), weight.new_zeros(shape)) for _ in range(transformer.num_layers)]
        return StaticCache(layers, positions, self._context(inputs))

    def forward(self, sequence: Sequence, inputs: LMInputs | None = None, cache: StaticCache | None = None) -> Logits:
        """Logits for the step after each of these steps.

        With a cache, ``sequence`` holds the new steps only, and ``inputs`` are those that the cache was made for, the
        same in every call: the prefix goes in with the first call.

        Raises:
            InvalidRequest: the steps do not fit into the cache, or this model has no cross-attention for the condition.
        """
        return self.predict(self.hidden_states(sequence, inputs or LMInputs(), cache))

    def hidden_states(
        self, sequence: Sequence, inputs: LMInputs, cache: StaticCache | None = None
    ) -> Float[Tensor, "B S D"]:
        """What ``predict`` reads of these steps; the prefix is left out. Arguments and errors are those of a call."""
        hidden = self.embed(sequence, inputs, start=0 if cache is None else cache.length)
        positions = self.positions(hidden.shape[1]) if cache is None else cache.next_positions(hidden.shape[1])
        context = self._context(inputs) if cache is None else cache.context
        hidden, rotary = self.place(hidden, positions)
        hidden = self.blocks(hidden, context, cache, rotary)
        return self.finish(hidden[:, -sequence.shape[-1] :], inputs)

    def predict(self, hidden: Float[Tensor, "B S D"]) -> Logits:
        """The logits of every codebook."""
        return torch.stack([head(hidden) for head in self.heads], dim=1)

    def embed(self, sequence: Sequence, inputs: LMInputs, start: int) -> Float[Tensor, "B all D"]:
        """Embedded steps with the summed condition, at ``start`` 0 behind the prefix.

        Args:
            start: the steps read before these, prefix included.
        """
        hidden = sum(embed(codes) for embed, codes in zip(self.embeddings, sequence.unbind(1), strict=True))
        if inputs.sum is not None:
            hidden = hidden + _steps_of(inputs.sum, max(0, start - inputs.prefix_steps), sequence.shape[-1])
        if inputs.prefix is not None and start == 0:
            hidden = torch.cat([inputs.prefix, hidden], dim=1)
        return hidden

    def place(
        self, hidden: Float[Tensor, "B S D"], positions: Float[Tensor, "S _"]
    ) -> tuple[Float[Tensor, "B S D"], Float[Tensor, "S E"] | None]:
        """Adds sinusoidal positions to the hidden states; rotary ones come back, for self-attention."""
        if self.config.transformer.positions == "rotary":
            return hidden, positions
        return hidden + positions.to(hidden.dtype), None

    def finish(self, hidden: Float[Tensor, "B S D"], inputs: LMInputs) -> Float[Tensor, "B S D"]:
        """The last norm, and the condition that is added to what the heads read."""
        hidden = self.norm(hidden)
        return hidden if inputs.output is None else hidden + inputs.output

    def _context(self, inputs: LMInputs) -> Context | None:
        context = inputs.context()
        if context is not None and not self.config.transformer.has_cross_attention:
            raise InvalidRequest("this model has no cross-attention: give the condition as a prefix")
        return context

    def positions(self, num_steps: int) -> Float[Tensor, "S _"]:
        """The positions of the first steps: as wide as a head where they are rotary, else as wide as the model."""
        transformer, weight = self.config.transformer, self.norm.weight
        if transformer.positions == "rotary":
            return rotary(num_steps, transformer.head_dim, device=weight.device).to(weight.dtype)
        return sinusoidal(num_steps, transformer.width, device=weight.device).to(weight.dtype)


def _steps_of(summed: Float[Tensor, "B all D"], start: int, num_steps: int) -> Float[Tensor, "B new D"]:
    if summed.shape[1] == 1:
        return summed
    if start + num_steps > summed.shape[1]:
        raise InvalidRequest(
            f"the summed condition has {summed.shape[1]} steps, the sequence has steps up to {start + num_steps}: "
            "give one vector a step, or a single one for all"
        )
    return summed[:, start : start + num_steps]
