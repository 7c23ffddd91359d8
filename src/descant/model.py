"""A whole MusicGen as one module: codec, language model, text conditioner, and the pattern that ties them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descant.codec.base import AudioCodec
from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.codec.spectral import SpectralCodec, SpectralCodecConfig
from descant.codec.stereo import StereoCodec
from descant.conditioning.base import Embedding, TextEncoder
from descant.conditioning.facts import FactsConditioner, FactsConfig, read_facts
from descant.conditioning.fuser import FuserConfig, fuse
from descant.conditioning.text import TextConditioner
from descant.errors import ConfigError
from descant.lm.model import LMConfig, MusicLM
from descant.nn.inputs import LMInputs
from descant.patterns import AnyPattern, frames_of_inputs


@dataclass(frozen=True, kw_only=True)
class StereoCodecConfig:
    """A mono codec applied to the left and the right channel."""

    mono: EnCodecConfig | SpectralCodecConfig


AnyCodecConfig: TypeAlias = EnCodecConfig | SpectralCodecConfig | StereoCodecConfig


@dataclass(frozen=True, kw_only=True)
class T5Text:
    """Text through a frozen T5 or FLAN-T5, found by hub id or in a folder.

    Args:
        has_sentence: the mean of a text's vectors is added to every step and to what the heads read, besides what
            cross-attention reads. For small models and short trainings; the released models have none.
    """

    name: str = "t5-base"
    dim: int = 768
    has_sentence: bool = False


@dataclass(frozen=True, kw_only=True)
class SmallText:
    """Text through the small encoder in the model's own folder, or through the package's where the folder has none.

    Args:
        has_sentence: as in ``T5Text``.
    """

    dim: int = 384
    has_sentence: bool = False


@dataclass(frozen=True, kw_only=True)
class GenerationDefaults:
    """How this model sounds its best when a request does not say: found by listening and measuring, not a law."""

    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 1.0
    guidance: float = 3.0

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and self.top_k >= 0 and 0 < self.top_p <= 1 and self.guidance >= 0):
            raise ConfigError(
                f"{self}: temperature must be above 0, top_k 0 or more, top_p above 0 and at most 1, guidance 0 or more"
            )


@dataclass(frozen=True, kw_only=True)
class MusicGenConfig:
    """Everything that is needed to build a model, without its weights.

    Args:
        facts: the tempo and the key that a text states are told besides the text; None in the released models.
        max_duration_s: the longest clip that the language model was trained on.
    """

    codec: AnyCodecConfig
    lm: LMConfig
    pattern: AnyPattern
    text: T5Text | SmallText
    facts: FactsConfig | None = None
    max_duration_s: float = 30.0
    defaults: GenerationDefaults = field(default_factory=GenerationDefaults)

    def __post_init__(self) -> None:
        books, size = codebooks_of(self.codec)
        if not books == self.lm.num_codebooks == self.pattern.num_codebooks:
            raise ConfigError(
                f"the codec has {books} codebooks, the language model {self.lm.num_codebooks} "
                f"and the pattern {self.pattern.num_codebooks}: they must be the same"
            )
        if size != self.lm.codebook_size:
            raise ConfigError(f"the codec has {size} entries a codebook, the language model {self.lm.codebook_size}")
        if not self.max_duration_s > 0:
            raise ConfigError(f"max_duration_s={self.max_duration_s}: must be above 0")


def codebooks_of(config: AnyCodecConfig) -> tuple[int, int]:
    """How many codebooks such a codec has, and how many entries each."""
    if isinstance(config, StereoCodecConfig):
        books, size = codebooks_of(config.mono)
        return 2 * books, size
    if isinstance(config, SpectralCodecConfig):
        return config.quantizer.num_codebooks, config.quantizer.codebook_size
    return config.num_codebooks, config.codebook_size


def build_codec(config: AnyCodecConfig) -> AudioCodec:
    """A codec of this shape with fresh weights."""
    if isinstance(config, StereoCodecConfig):
        return StereoCodec(build_codec(config.mono))
    if isinstance(config, SpectralCodecConfig):
        return SpectralCodec(config)
    return EnCodec(config)


class MusicGenModel(nn.Module):
    """Codec, language model and text conditioner; its ``state_dict`` holds them and nothing else.

    Args:
        text_encoder: frozen, so it is a plain attribute and no part of the weights.
    """

    def __init__(self, config: MusicGenConfig, text_encoder: TextEncoder) -> None:
        super().__init__()
        if text_encoder.dim != config.text.dim:
            raise ConfigError(f"the text encoder is {text_encoder.dim} wide, the model expects {config.text.dim}")
        self.config = config
        self.text_encoder = text_encoder
        self.codec = build_codec(config.codec)
        self.lm = MusicLM(config.lm)
        width = config.lm.transformer.width
        self.text = TextConditioner(config.text.dim, width, config.text.has_sentence)
        self.facts = None if config.facts is None else FactsConditioner(config.facts, width)

    @property
    def device(self) -> torch.device:
        """Where the language model is."""
        return self.lm.norm.weight.device

    @property
    def fuser(self) -> FuserConfig:
        """Where the text goes: to cross-attention, or before the codes in a model that has none."""
        return FuserConfig(text="cross" if self.config.lm.transformer.has_cross_attention else "prefix")

    def read(self, texts: Sequence[str | None]) -> Embedding:
        """The texts as the text encoder sees them; None is the null condition."""
        return self.text_encoder.encode(texts).to(self.device)

    def inputs(
        self,
        texts: Sequence[str | None],
        num_frames: int,
        *,
        read: Embedding | None = None,
        first_beats: Float[Tensor, " B"] | None = None,
    ) -> LMInputs:
        """What the language model is told by these texts about a piece of ``num_frames`` frames.

        Args:
            read: the texts as ``read`` gave them, conditions dropped out or not; a row without anything in it is the
                null condition, whatever its text.
            first_beats: how many beats of the piece lie before frame 0 of each row; None begins on a beat.
        """
        read = self.read(texts) if read is None else read
        told = self.text(read)
        if self.facts is not None:
            is_null = ~read.mask.any(dim=1)
            heard = [None if null else text for text, null in zip(texts, is_null.tolist(), strict=True)]
            table = self.config.pattern.steps(num_frames)
            frames = frames_of_inputs(table, int(table.max()) + 1)
            facts = [read_facts(text) for text in heard]
            told["facts"] = self.facts(facts, frames, self.codec.frame_rate_hz, first_beats)
        return fuse(told, self.fuser)
