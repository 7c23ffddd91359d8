"""Style: a few seconds of music as a handful of numbers, enough to sound alike and too few to be copied.

An excerpt goes through a frozen network that has listened to much music, a small transformer and a residual quantiser,
of which only the first levels are heard and only every fifteenth frame: 5 vectors a second (MusicGen-Style, arXiv
2407.12563, section 3). The bottleneck is what keeps the model from repeating the excerpt.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from descant.audio import Clip
from descant.conditioning.base import Embedding
from descant.errors import ConfigError, InvalidRequest
from descant.nn.positions import sinusoidal
from descant.nn.rvq import ResidualVectorQuantizer, RVQConfig, VectorQuantizer
from descant.nn.transformer import Transformer, TransformerConfig


@dataclass(frozen=True, kw_only=True)
class StyleConfig:
    """The defaults are those of the released style model (audiocraft, style2music.yaml).

    Args:
        features: the frozen network, by hub id or folder.
        feature_dim: width of its vectors.
        used_codebooks: how many levels of the quantiser are heard; more say more of the excerpt.
        stride_frames: every so many frames one is heard. The network gives 75 a second.
        excerpt_s: how much of a clip is listened to, from its middle; a clip of ``min_excerpt_s`` is enough.
    """

    features: str = "m-a-p/MERT-v1-95M"
    feature_dim: int = 768
    width: int = 512
    num_heads: int = 8
    num_layers: int = 8
    num_codebooks: int = 6
    codebook_size: int = 1_024
    used_codebooks: int = 3
    stride_frames: int = 15
    excerpt_s: float = 3.0
    min_excerpt_s: float = 1.5

    def __post_init__(self) -> None:
        if not 1 <= self.used_codebooks <= self.num_codebooks:
            raise ConfigError(f"used_codebooks={self.used_codebooks}: allowed are 1 to {self.num_codebooks}")
        if min(self.feature_dim, self.stride_frames) < 1:
            raise ConfigError(
                f"feature_dim={self.feature_dim}, stride_frames={self.stride_frames}: each must be at least 1"
            )
        if not 0 < self.min_excerpt_s <= self.excerpt_s:
            raise ConfigError(
                f"min_excerpt_s={self.min_excerpt_s:g} must be above 0 and at most excerpt_s={self.excerpt_s:g}"
            )


class StyleFeatures(ABC):
    """A frozen network that listens. It is no ``nn.Module``, so a model's ``state_dict`` holds only what is trained."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width of the vectors that it gives."""

    @property
    @abstractmethod
    def sample_rate_hz(self) -> int:
        """The rate that it listens at."""

    @abstractmethod
    def to(self, device: torch.device | str) -> "StyleFeatures":
        """The same network on another device; this one is left as it is."""

    @abstractmethod
    def features(self, wave: Float[Tensor, " N"]) -> Float[Tensor, "T F"]:
        """One float32 vector a frame of mono sound, where the network is."""


def excerpt(clip: Clip, config: StyleConfig) -> Clip:
    """The middle of a clip, as long as the model listens; all of a shorter clip.

    The middle and not a random place, as in audiocraft: the same request must give the same music.

    Raises:
        InvalidRequest: the clip is shorter than any that the model was trained on.
    """
    if clip.duration_s < config.min_excerpt_s:
        raise InvalidRequest(
            f"style: {clip.duration_s:g} s of sound; this model needs {config.min_excerpt_s:g} s at least and listens "
            f"to {config.excerpt_s:g} s from the middle"
        )
    num_samples = round(config.excerpt_s * clip.sample_rate_hz)
    start = max(0, clip.samples.shape[1] - num_samples) // 2
    return replace(clip, samples=clip.samples[:, start : start + num_samples], codes=None)


class StyleConditioner(nn.Module):
    """From a listener's vectors to codes, and from codes to what the language model reads.

    The codes are computed in float32 whatever the language model's precision; no gradient goes through them.
    """

    def __init__(self, config: StyleConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Linear(config.feature_dim, config.width)
        self.blocks = Transformer(
            TransformerConfig(
                width=config.width,
                num_heads=config.num_heads,
                num_layers=config.num_layers,
                has_cross_attention=False,
                is_causal=False,
            )
        )
        self.batch_norm = nn.BatchNorm1d(config.width, affine=False)
        self.quantizer = ResidualVectorQuantizer(
            RVQConfig(
                dim=config.width,
                num_codebooks=config.num_codebooks,
                codebook_size=config.codebook_size,
                codebook_dim=config.width,
                dead_code_threshold=0.1,
            )
        )
        self.project = nn.Linear(config.width, width)

    @torch.no_grad()
    def codes(self, features: Float[Tensor, "T F"]) -> Int[Tensor, "K L"]:
        """The style of one excerpt: the levels that are heard, of the frames that are heard."""
        stream = self.embed(features)[None] + sinusoidal(len(features), self.config.width, device=features.device)
        latents = self.batch_norm(rearrange(self.blocks(stream), "B T D -> B D T"))
        codes = self.quantizer.encode(latents)[0]
        return codes[: self.config.used_codebooks, :: self.config.stride_frames]

    def forward(self, codes: Sequence[Int[Tensor, "_ _"] | None]) -> Embedding:
        """Styles in the language model's width and precision, a row each; None is the null style, which is zeros.

        Rows are as long as the longest, and of length 1 where no row has a style.
        """
        weight = self.project.weight
        length = max((one.shape[1] for one in codes if one is not None), default=1)
        values = weight.new_zeros(len(codes), length, len(weight))
        mask = torch.zeros(len(codes), length, dtype=torch.bool, device=weight.device)
        for row, one in enumerate(codes):
            if one is not None:
                values[row, : one.shape[1]] = self.project(self._vectors(one.to(weight.device)).to(weight.dtype))
                mask[row, : one.shape[1]] = True
        return Embedding(values, mask)

    def _vectors(self, codes: Int[Tensor, "K L"]) -> Float[Tensor, "L D"]:
        """The sum of the entries that the codes of the first levels name."""
        levels = [level for level in self.quantizer.levels if isinstance(level, VectorQuantizer)][: len(codes)]
        return torch.stack([level.look_up(one) for level, one in zip(levels, codes, strict=True)]).sum(dim=0)
