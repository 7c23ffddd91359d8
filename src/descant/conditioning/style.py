"""The style condition: a few seconds of music, reduced until it can be resembled but not copied.

An excerpt goes through a frozen music encoder, a small transformer and a residual quantiser, of which only the first
levels are used and only every fifteenth frame: 5 vectors a second (MusicGen-Style, arXiv 2407.12563, section 3). This
bottleneck keeps the model from repeating the excerpt.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from descant import processes
from descant.audio import Clip
from descant.conditioning.base import Conditioner, Conditions, Embedding, FrameSpan, Fusion
from descant.errors import ConfigError, InvalidRequest
from descant.nn.positions import sinusoidal
from descant.nn.rvq import ResidualVectorQuantizer, RVQConfig, VectorQuantizer
from descant.nn.settings import in_one_thread
from descant.nn.transformer import Transformer, TransformerConfig


@dataclass(frozen=True, kw_only=True)
class StyleConfig:
    """The defaults are those of the released style model (audiocraft, style2music.yaml).

    Args:
        features: the frozen network, by hub id or folder.
        feature_dim: width of its vectors.
        used_codebooks: number of levels of the quantiser that are used; more carry more of the excerpt.
        stride_frames: one frame in this many is used. The network gives 75 a second.
        excerpt_s: length of the excerpt, from the middle of a clip; a clip of ``min_excerpt_s`` is enough.
        max_excerpt_s: in training, the length is drawn between ``min_excerpt_s`` and this.
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
    max_excerpt_s: float = 4.5

    def __post_init__(self) -> None:
        if not 1 <= self.used_codebooks <= self.num_codebooks:
            raise ConfigError(f"used_codebooks={self.used_codebooks}: allowed are 1 to {self.num_codebooks}")
        if min(self.feature_dim, self.stride_frames) < 1:
            raise ConfigError(
                f"feature_dim={self.feature_dim}, stride_frames={self.stride_frames}: each must be at least 1"
            )
        if not 0 < self.min_excerpt_s <= self.excerpt_s <= self.max_excerpt_s:
            raise ConfigError(
                f"min_excerpt_s={self.min_excerpt_s:g} must be above 0, at most excerpt_s={self.excerpt_s:g}, and that "
                f"at most max_excerpt_s={self.max_excerpt_s:g}"
            )


class StyleFeatures(ABC):
    """A frozen music encoder. It is not an ``nn.Module``, so a model's ``state_dict`` holds only what is trained."""

    @property
    @abstractmethod
    def dim(self) -> int:
        """Width of its vectors."""

    @property
    @abstractmethod
    def sample_rate_hz(self) -> int:
        """The sample rate of the audio that it takes."""

    @abstractmethod
    def to(self, device: torch.device | str) -> "StyleFeatures":
        """The same network on another device; this one is left as it is."""

    @abstractmethod
    def features(self, wave: Float[Tensor, " N"]) -> Float[Tensor, "T F"]:
        """One float32 vector per frame of mono audio, on the network's device."""


def excerpt(clip: Clip, config: StyleConfig) -> Clip:
    """The middle ``excerpt_s`` seconds of a clip; all of a shorter clip.

    The middle, not a random place as in audiocraft: the same request must give the same music.

    Raises:
        InvalidRequest: the clip is shorter than the model's ``min_excerpt_s``.
    """
    if clip.duration_s < config.min_excerpt_s:
        raise InvalidRequest(
            f"style: {clip.duration_s:g} s of audio; this model needs {config.min_excerpt_s:g} s at least and takes "
            f"{config.excerpt_s:g} s from the middle"
        )
    num_samples = round(config.excerpt_s * clip.sample_rate_hz)
    start = max(0, clip.samples.shape[1] - num_samples) // 2
    return replace(clip, samples=clip.samples[:, start : start + num_samples], codes=None)


class StyleConditioner(Conditioner[Sequence[Int[Tensor, "_ _"] | Float[Tensor, "_ _"] | None]]):
    """From a frozen encoder's vectors to codes, and from codes to the language model's width.

    The condition of a row is its codes or, in training, the encoder's vectors of an excerpt: the bottleneck is trained
    with the language model then. There is no commitment loss, as in audiocraft; the normalisation before the quantiser
    keeps the vectors near its entries. Codes are computed in float32 whatever the language model's precision.

    Args:
        encoder: not part of the weights; without it, styles can only be given as codes.

    Raises:
        ConfigError: the encoder's vectors have another width than the config says.
    """

    name = condition = "style"
    is_before_text = True
    float32_parts = frozenset({"embed", "blocks", "batch_norm", "quantizer"})

    def __init__(self, config: StyleConfig, lm_width: int, encoder: StyleFeatures | None = None) -> None:
        super().__init__()
        if encoder is not None and encoder.dim != config.feature_dim:
            raise ConfigError(
                f"style_features are {encoder.dim} wide, the model expects style features {config.feature_dim} wide"
            )
        self.config, self.encoder = config, encoder
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
        self.project = nn.Linear(config.width, lm_width)

    @in_one_thread
    def extract(self, clip: Clip) -> Int[Tensor, "K L"]:
        """The style of a clip, as codes on the CPU, the same with any number of threads.

        Raises:
            InvalidRequest: the clip is too short, or the encoder is not loaded.
        """
        if self.encoder is None:
            raise InvalidRequest(f"style: {self.config.features} is not loaded; give style_codes, or load it")
        mono = excerpt(clip, self.config).resample(self.encoder.sample_rate_hz).to_channels(1).samples[0]
        return self.codes(self.encoder.features(mono).to(self.embed.weight.device)).cpu()

    @torch.no_grad()
    def codes(self, features: Float[Tensor, "T F"]) -> Int[Tensor, "K L"]:
        """The codes of one excerpt, of the levels and frames that are used."""
        codes = self.quantizer.encode(self._latents(features[None]))[0]
        return codes[: self.config.used_codebooks, :: self.config.stride_frames]

    def prepare(self, rows: Sequence[Conditions]) -> Sequence[Int[Tensor, "_ _"] | Float[Tensor, "_ _"] | None]:
        """The codes of each row's style, or the vectors to learn from."""
        return [row.get("style") for row in rows]

    def forward(
        self,
        prepared: Sequence[Int[Tensor, "_ _"] | Float[Tensor, "_ _"] | None],
        span: FrameSpan,
        drop: Bool[Tensor, " B"] | None = None,
    ) -> dict[Fusion, Embedding]:
        """The styles, in rows as long as the longest; of length 1 where no row has a style.

        In training mode the bottleneck learns from the vectors of rows that are not dropped, which must be equally
        many.
        """
        del span
        dropped = [False] * len(prepared) if drop is None else drop.tolist()
        styles = {
            row: style
            for row, (style, is_dropped) in enumerate(zip(prepared, dropped, strict=True))
            if style is not None and not is_dropped
        }
        weight = self.project.weight
        learned = [row for row, style in styles.items() if style.is_floating_point()] if self.training else []
        vectors = {row: self._vectors(self._codes_of(style)) for row, style in styles.items() if row not in learned}
        if learned:
            vectors |= dict(zip(learned, self._learn(torch.stack([styles[row] for row in learned])), strict=True))
        elif self.training and self.encoder is not None and processes.count() > 1:
            self._learn_with_others()
        length = max((len(of_row) for of_row in vectors.values()), default=1)
        values = weight.new_zeros(len(prepared), length, len(weight))
        mask = torch.zeros(len(prepared), length, dtype=torch.bool, device=weight.device)
        for row, of_row in vectors.items():
            values[row, : len(of_row)] = self.project(of_row.to(weight.dtype)).to(values.dtype)
            mask[row, : len(of_row)] = True
        return {"prefix": Embedding.masked(values, mask)}

    def move_encoder(self, device: torch.device) -> None:
        self.encoder = None if self.encoder is None else self.encoder.to(device)

    def _latents(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B D T"]:
        """What the quantiser rounds, in float32 even under autocast."""
        with torch.autocast(features.device.type, enabled=False):
            places = sinusoidal(features.shape[1], self.config.width, device=features.device)
            return self.batch_norm(rearrange(self.blocks(self.embed(features) + places), "B T D -> B D T"))

    def _learn(self, features: Float[Tensor, "B T F"]) -> Float[Tensor, "B L D"]:
        """The vectors of styles in training: of a random number of levels, so that each number of them is useful."""
        num_levels = int(torch.randint(1, self.config.num_codebooks + 1, ()))
        latents = self._latents(features)
        self._share_statistics(has_rows=True)
        quantized = self.quantizer(latents, num_levels).latents
        return rearrange(quantized, "B D T -> B T D")[:, :: self.config.stride_frames]

    def _learn_with_others(self) -> None:
        """Takes part in what other processes learn, where none of this one's rows has a style."""
        self._share_statistics(has_rows=False)
        self.quantizer(self.embed.weight.new_zeros(0, self.config.width, 1))

    @torch.no_grad()
    def _share_statistics(self, has_rows: bool) -> None:
        """Gives the normalisation the mean of what all processes with rows have found, which is used after training."""
        if processes.count() == 1:
            return
        found = {name: self.batch_norm.get_buffer(name) for name in ("running_mean", "running_var")}
        number = processes.sum_of_all(torch.tensor(float(has_rows), device=self.embed.weight.device))
        if number > 0:
            for name, own in found.items():
                # A new tensor: the backward pass needs the old one as it is.
                setattr(self.batch_norm, name, processes.sum_of_all(own * float(has_rows)) / number)
            self.batch_norm.get_buffer("num_batches_tracked").add_(not has_rows)

    def _codes_of(self, style: Int[Tensor, "_ _"] | Float[Tensor, "_ _"]) -> Int[Tensor, "K L"]:
        style = style.to(self.project.weight.device)
        return self.codes(style) if style.is_floating_point() else style

    def _vectors(self, codes: Int[Tensor, "K L"]) -> Float[Tensor, "L D"]:
        """The sum of the codebook entries of the first levels."""
        levels = [level for level in self.quantizer.levels if isinstance(level, VectorQuantizer)][: len(codes)]
        return torch.stack([level.look_up(of_level) for level, of_level in zip(levels, codes, strict=True)]).sum(dim=0)
