"""CLAP: texts and sound as points of one space, so that a model trained on what music sounds like is asked in words.

No clip needs a caption then: in training the model is told the embedding of the sound, in use that of the text. The
embedding goes through a residual quantiser first, which keeps from it what both have in common and makes it harder to
remember a clip by (MusicGen, arXiv 2306.05284, appendix A.1; audiocraft, clapemb2music.yaml).
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from descant.conditioning.base import Embedding
from descant.errors import ConfigError
from descant.nn.rvq import ResidualVectorQuantizer, RVQConfig, VectorQuantizer

START_VECTORS = 16
"""So many vectors an entry are enough for its first place; more take longer."""

_MOST = {"dim": 2**16, "num_codebooks": 256, "codebook_size": 2**16, "sample_rate_hz": 10**6}
_LONGEST_WINDOW_S = 3_600.0


@dataclass(frozen=True, kw_only=True)
class ClapConfig:
    """The defaults are those of MusicGen's experiments with CLAP (audiocraft, clapemb2music.yaml).

    Args:
        name: the frozen network, by hub id or folder.
        dim: width of the space.
        window_s: how much sound the network hears at once; of more it hears windows, one every ``stride_s`` seconds.
    """

    name: str = "laion/larger_clap_music"
    dim: int = 512
    num_codebooks: int = 12
    codebook_size: int = 1_024
    sample_rate_hz: int = 48_000
    window_s: float = 10.0
    stride_s: float = 1.0

    def __post_init__(self) -> None:
        if not self.name:
            raise ConfigError("name='': must be a hub id or a folder")
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"{name}={getattr(self, name)}: from 1 to {most}")
        for name in ("window_s", "stride_s"):
            # A window of less than a sample would be no sound.
            if not 1 / self.sample_rate_hz <= getattr(self, name) <= _LONGEST_WINDOW_S:
                raise ConfigError(f"{name}={getattr(self, name):g}: from one sample to {_LONGEST_WINDOW_S:g} s")

    @property
    def window_samples(self) -> int:
        """Samples in a window."""
        return round(self.window_s * self.sample_rate_hz)

    @property
    def stride_samples(self) -> int:
        """Samples from the beginning of a window to that of the next."""
        return round(self.stride_s * self.sample_rate_hz)


class ClapConditioner(nn.Module):
    """From a point of the joint space to what the language model reads: quantised, then projected, as one position.

    There is no commitment loss: it would pull an encoder towards the codebooks, and this one is frozen.
    """

    def __init__(self, config: ClapConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.quantizer = ResidualVectorQuantizer(
            RVQConfig(
                dim=config.dim,
                num_codebooks=config.num_codebooks,
                codebook_size=config.codebook_size,
                codebook_dim=config.dim,
                # A batch has one vector a clip, fewer than a codebook has entries. With a codec's settings all entries
                # would die in every step and be put onto the last few clips.
                decay=0.999,
                dead_code_threshold=0.1,
                dead_code_relative=True,
            )
        )
        self.project = nn.Linear(config.dim, width)

    def start(self, embeddings: Float[Tensor, "N D"]) -> None:
        """Puts the codebooks where these embeddings are. Without it the first batch does, with its few vectors.

        Of many embeddings evenly spaced ones are taken.
        """
        step = max(1, len(embeddings) // (START_VECTORS * self.config.codebook_size))
        chosen = embeddings[::step].to(self.project.weight.device)
        for level in self.quantizer.levels:
            assert isinstance(level, VectorQuantizer)
            level.is_initialized.fill_(0)
        was_training = self.training
        self.train()
        with torch.no_grad():
            self.quantizer(rearrange(chosen, "N D -> 1 D N"))
        self.train(was_training)

    def quantized(self, embeddings: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """What is left of embeddings; in training mode the codebooks learn from them."""
        return rearrange(self.quantizer(rearrange(embeddings, "B D -> B D 1")).latents, "B D 1 -> B D")

    def forward(self, embeddings: Float[Tensor, "B D"], is_told: Bool[Tensor, " B"]) -> Embedding:
        """Embeddings in the model's width and precision; zeros, and masked, for rows that are told none.

        The codebooks learn from the rows that are told.
        """
        weight = self.project.weight
        is_told = is_told.to(weight.device)
        values = weight.new_zeros(len(embeddings), 1, len(weight))
        if bool(is_told.any()):
            heard = self.quantized(embeddings.to(weight.device)[is_told]).to(weight.dtype)
            values[is_told] = self.project(heard)[:, None].to(values.dtype)
        return Embedding(values, is_told[:, None])
