"""A whole MusicGen as one module: codec, language model, conditioners, and the pattern that ties them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from descant.audio import Clip
from descant.codec.base import AudioCodec
from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.codec.spectral import SpectralCodec, SpectralCodecConfig
from descant.codec.stereo import StereoCodec
from descant.conditioning.base import Embedding, TextEncoder, readable_text
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.clap import ClapConditioner, ClapConfig
from descant.conditioning.encoders.clap import JointEncoder
from descant.conditioning.fuser import FuserConfig, Method, fuse
from descant.conditioning.melody import MelodyConditioner, apply_bottleneck, null_melody
from descant.conditioning.normalize import normalize_text
from descant.conditioning.style import StyleConditioner, StyleConfig, StyleFeatures, excerpt
from descant.conditioning.tempo_key import TempoKeyConditioner, TempoKeyConfig
from descant.conditioning.text import TextConditioner
from descant.errors import ConfigError, InvalidRequest
from descant.lm.model import LMConfig, MusicLM
from descant.nn.inputs import LMInputs
from descant.patterns import AnyPattern, frames_of_inputs
from descant.tempo_key import parse_tempo_key


@dataclass(frozen=True, kw_only=True)
class StereoCodecConfig:
    """A mono codec applied to the left and the right channel."""

    mono: EnCodecConfig | SpectralCodecConfig


AnyCodecConfig: TypeAlias = EnCodecConfig | SpectralCodecConfig | StereoCodecConfig


@dataclass(frozen=True, kw_only=True)
class T5Text:
    """Text through a frozen T5 or FLAN-T5, found by hub id or in a folder.

    Args:
        has_projection: without one the model reads the T5's vectors as they are, which are as wide as itself then.
        has_sentence: the mean of a text's vectors is added to every step and to what the heads read, besides what
            cross-attention reads. For small models and short trainings; the released models have none.
        is_normalized: texts are read as ``normalize_text`` leaves them, in training as in use; tempo and key are still
            read from the text as it is written.
    """

    name: str = "t5-base"
    dim: int = 768
    has_projection: bool = True
    has_sentence: bool = False
    is_normalized: bool = False


@dataclass(frozen=True, kw_only=True)
class SmallText:
    """Text through the small encoder in the model's own folder, or through the package's where the folder has none.

    Args:
        has_sentence, is_normalized: as in ``T5Text``.
    """

    dim: int = 384
    has_sentence: bool = False
    is_normalized: bool = False


@dataclass(frozen=True, kw_only=True)
class GenerationDefaults:
    """How this model sounds its best when a request does not say: found by listening and measuring, not a law."""

    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 1.0
    guidance: float = 3.0
    melody_guidance: float | None = None

    def __post_init__(self) -> None:
        guidances = (self.guidance, 0.0 if self.melody_guidance is None else self.melody_guidance)
        if not (self.temperature > 0 and self.top_k >= 0 and 0 < self.top_p <= 1 and min(guidances) >= 0):
            raise ConfigError(
                f"{self}: temperature must be above 0, top_k 0 or more, top_p above 0 to 1, guidances 0 or more"
            )


@dataclass(frozen=True, kw_only=True)
class MusicGenConfig:
    """Everything that is needed to build a model, without its weights.

    Args:
        facts: the tempo and the key that a text states are told besides the text; None in the released models.
        max_duration_s: the longest clip that the language model was trained on.
        melody: what it hears of a melody; None for a model that takes none.
        style: what it hears of music to resemble; None for a model that takes none.
        clap: the joint space of texts and sound that it is told points of; None for a model that is told none.
    """

    codec: AnyCodecConfig
    lm: LMConfig
    pattern: AnyPattern
    text: T5Text | SmallText
    facts: TempoKeyConfig | None = None
    max_duration_s: float = 30.0
    defaults: GenerationDefaults = field(default_factory=GenerationDefaults)
    melody: MelodyConfig | None = None
    style: StyleConfig | None = None
    clap: ClapConfig | None = None

    def __post_init__(self) -> None:
        books, size = codebooks_of(self.codec)
        if not books == self.lm.num_codebooks == self.pattern.num_codebooks:
            raise ConfigError(
                f"the codec has {books} codebooks, the language model {self.lm.num_codebooks} "
                f"and the pattern {self.pattern.num_codebooks}: they must be the same"
            )
        if size != self.lm.codebook_size:
            raise ConfigError(f"the codec has {size} entries a codebook, the language model {self.lm.codebook_size}")
        if not self.has_text_projection and self.text.dim != self.lm.transformer.width:
            raise ConfigError(
                f"text.has_projection=False needs text.dim={self.text.dim} to be "
                f"lm.transformer.width={self.lm.transformer.width}"
            )
        if self.melody is not None and self.melody.fusion == "cross" and not self.lm.transformer.has_cross_attention:
            raise ConfigError("melody.fusion='cross' needs lm.transformer.has_cross_attention; take prefix or sum")
        if not self.max_duration_s > 0:
            raise ConfigError(f"max_duration_s={self.max_duration_s}: must be above 0")

    @property
    def has_text_projection(self) -> bool:
        """Whether text goes through a linear map to the language model's width."""
        return not isinstance(self.text, T5Text) or self.text.has_projection


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


@dataclass(frozen=True, eq=False)
class Conditions:
    """What one row of a batch is told.

    Args:
        melody: levels of the pitch classes in every frame, as `extract_melody` gives them; None is the null melody.
        style: codes of an excerpt; None is the null style.
        clap: a point of the joint space, that of some sound perhaps; None is the text's, in a model with such a space.
    """

    text: str | None = None
    melody: Int[Tensor, "T P"] | None = None
    style: Int[Tensor, "K L"] | None = None
    clap: Float[Tensor, " D"] | None = None


@dataclass(frozen=True, eq=False)
class Heard:
    """Conditions with what the frozen encoders make of them: worked out once, however long the music gets.

    Args:
        points: where each row is in the joint space, for a model that has one; None is nowhere.
    """

    rows: tuple[Conditions, ...]
    read: Embedding
    points: tuple[Float[Tensor, " D"] | None, ...]


class MusicGenModel(nn.Module):
    """Codec, language model and conditioners; its ``state_dict`` holds them and nothing else.

    Args:
        text_encoder: frozen, so it is a plain attribute and no part of the weights.
        style_features: frozen too; a style model without it is told styles as codes only.
        clap_encoder: frozen too; a model with a joint space can be trained without it, but not asked in words.
    """

    def __init__(
        self,
        config: MusicGenConfig,
        text_encoder: TextEncoder,
        style_features: StyleFeatures | None = None,
        clap_encoder: JointEncoder | None = None,
    ) -> None:
        super().__init__()
        if text_encoder.dim != config.text.dim:
            raise ConfigError(f"the text encoder is {text_encoder.dim} wide, the model expects {config.text.dim}")
        if style_features is not None and (config.style is None or config.style.feature_dim != style_features.dim):
            expected = "no style" if config.style is None else f"style features {config.style.feature_dim} wide"
            raise ConfigError(f"style_features are {style_features.dim} wide, the model expects {expected}")
        if clap_encoder is not None and clap_encoder.config != config.clap:
            raise ConfigError(f"clap_encoder is made for {clap_encoder.config}, the model for {config.clap}")
        self.config = config
        self.text_encoder = text_encoder
        self.style_features = style_features
        self.clap_encoder = clap_encoder
        self.codec = build_codec(config.codec)
        self.lm = MusicLM(config.lm)
        width = config.lm.transformer.width
        self.text = TextConditioner(
            config.text.dim, width, config.text.has_sentence, has_projection=config.has_text_projection
        )
        self.facts = None if config.facts is None else TempoKeyConditioner(config.facts, width)
        self.melody = None if config.melody is None else MelodyConditioner(config.melody, width)
        self.style = None if config.style is None else StyleConditioner(config.style, width)
        self.clap = None if config.clap is None else ClapConditioner(config.clap, width)

    @property
    def device(self) -> torch.device:
        """Where the language model is."""
        return self.lm.norm.weight.device

    @property
    def fuser(self) -> FuserConfig:
        """Where text and joint space go: to cross-attention, or before the codes in a model that has none."""
        place: Method = "cross" if self.config.lm.transformer.has_cross_attention else "prefix"
        return FuserConfig(
            text=place,
            clap=place,
            melody="prefix" if self.config.melody is None else self.config.melody.fusion,
        )

    def read(self, texts: Sequence[str | None]) -> Embedding:
        """The texts as the text encoder sees them; None is the null condition."""
        return self.text_encoder.encode([self.as_read(text) for text in texts]).to(self.device)

    def as_read(self, text: str | None) -> str | None:
        """The text that the text encoder is given; None where nothing is left to read."""
        readable = readable_text(text)
        return normalize_text(readable) if readable is not None and self.config.text.is_normalized else readable

    def heard(self, conditions: Sequence[Conditions]) -> Heard:
        """The conditions as the frozen encoders hear them.

        Raises:
            InvalidRequest: as ``inputs``.
        """
        points = [None] * len(conditions) if self.clap is None else self._points(conditions)
        return Heard(tuple(conditions), self.read([row.text for row in conditions]), tuple(points))

    def inputs(
        self,
        conditions: Sequence[Conditions] | Heard,
        num_frames: int = 1,
        *,
        first_s: float = 0.0,
        first_beats: Float[Tensor, " B"] | None = None,
    ) -> LMInputs:
        """What the language model is told, a row for each of ``conditions``, all as long as the longest text.

        A model with melodies or styles is told one in every row, the null condition where there is none. A model with a
        joint space is told where the row's text is, unless the row says where itself.

        Args:
            num_frames: how long the piece is, for a model that is told facts or melodies step by step.
            first_s: where in the music the piece begins: of a melody, what is heard from there on is told.
            first_beats: how many beats lie before the piece, for each row; None begins on a beat.

        Raises:
            InvalidRequest: a text is too long or no text, or there is nothing that finds it in the joint space.
        """
        heard = conditions if isinstance(conditions, Heard) else self.heard(conditions)
        texts = [row.text for row in heard.rows]
        told = self._told(texts, heard.read, num_frames, first_beats)
        if self.melody is not None:
            config, rows = self.melody.config, [row.melody for row in heard.rows]
            is_told = torch.tensor([row is not None or config.null == "c" for row in rows])
            none = null_melody(config)
            duration_s = num_frames / self.codec.frame_rate_hz
            fitted = [self.melody.fitted(none if row is None else row.cpu(), duration_s, first_s) for row in rows]
            within_s = max(0.0, first_s - self.melody.frame_at(first_s) / config.frame_rate_hz)
            told["melody"] = self._melody(torch.stack(fitted), is_told, num_frames, within_s)
        if self.style is not None:
            told["style"] = self.style([row.style for row in heard.rows])
        if self.clap is not None:
            nowhere = torch.zeros(self.clap.config.dim)
            values = torch.stack([nowhere if point is None else point.float().cpu() for point in heard.points])
            told["clap"] = self.clap(values, torch.tensor([point is not None for point in heard.points]))
        return fuse(told, self.fuser)

    def training_inputs(
        self,
        texts: Sequence[str | None],
        read: Embedding,
        num_frames: int,
        first_beats: Float[Tensor, " B"],
        chroma: Float[Tensor, "B T P"] | None = None,
        has_melody: Bool[Tensor, " B"] | None = None,
        clap: Float[Tensor, "B D"] | None = None,
        has_clap: Bool[Tensor, " B"] | None = None,
    ) -> LMInputs:
        """What the language model is told in training: texts, melodies, points of the joint space, and null conditions
        where it has none.

        Args:
            read: the texts as ``read`` gave them, some of them perhaps dropped out: a row without anything in it is the
                null condition, whatever its text.
            first_beats: how many beats of the piece lie before frame 0 of each row.
            chroma: chromagrams from frame 0 of each row on; None tells no melody.
            has_melody: the rows that are told theirs; None is all.
            clap: where each row's sound is in the joint space; None tells no row.
            has_clap: the rows that are told theirs; None is all.
        """
        told = self._told(texts, read, num_frames, first_beats)
        if self.melody is not None:
            config = self.melody.config
            if chroma is None:
                chroma = torch.zeros(len(texts), config.num_frames * config.pooled_frames, config.num_pitches)
                has_melody = torch.zeros(len(texts), dtype=torch.bool)
            is_told = torch.ones(len(texts), dtype=torch.bool) if has_melody is None else has_melody
            squeezed = apply_bottleneck(chroma, config)
            if config.fusion != "sum":
                # As many frames as are told when music is made, or the codes would stand elsewhere.
                squeezed = squeezed[:, torch.arange(config.num_frames) % squeezed.shape[1]]
            told["melody"] = self._melody(squeezed, is_told, num_frames)
        if self.style is not None:
            told["style"] = self.style([None] * len(texts))
        if self.clap is not None:
            is_told = torch.full((len(texts),), clap is not None) if clap is None or has_clap is None else has_clap
            points = torch.zeros(len(texts), self.clap.config.dim) if clap is None else clap
            told["clap"] = self.clap(points, is_told)
        return fuse(told, self.fuser)

    def _points(self, conditions: Sequence[Conditions]) -> list[Float[Tensor, " D"] | None]:
        """Where each row is in the joint space; a text that several rows have is found once."""
        found: dict[str, Tensor] = {}
        points = []
        for row in conditions:
            text = readable_text(row.text)
            if row.clap is not None or text is None:
                points.append(row.clap)
                continue
            if self.clap_encoder is None:
                raise InvalidRequest(
                    "text: what finds texts in this model's joint space is not loaded; give Conditions a point, or "
                    f"the model a ClapEncoder.load({self.config.clap})"
                )
            if text not in found:
                found[text] = self.clap_encoder.embed_text(text)
            points.append(found[text])
        return points

    def _told(
        self, texts: Sequence[str | None], read: Embedding, num_frames: int, first_beats: Float[Tensor, " B"] | None
    ) -> dict[str, Embedding]:
        told = self.text(Embedding(read.values.to(self.lm.norm.weight.dtype), read.mask))
        if self.facts is not None:
            is_null = ~read.mask.any(dim=1)
            facts = [
                parse_tempo_key(None if null else text) for text, null in zip(texts, is_null.tolist(), strict=True)
            ]
            told["facts"] = self.facts(facts, self.frames_of_steps(num_frames), self.codec.frame_rate_hz, first_beats)
        return told

    def _melody(
        self, squeezed: Float[Tensor, "B T P"], is_told: Bool[Tensor, " B"], num_frames: int, within_s: float = 0.0
    ) -> Embedding:
        """Melodies as vectors, in a model that has them added to its steps one for each.

        Args:
            within_s: where in the first frame of the melody the piece begins.
        """
        assert self.melody is not None
        melody: Embedding = self.melody(squeezed, is_told)
        if self.melody.config.fusion != "sum":
            return melody
        return self.melody.at(melody, within_s + (self.frames_of_steps(num_frames) + 0.5) / self.codec.frame_rate_hz)

    def frames_of_steps(self, num_frames: int) -> Float[Tensor, " S"]:
        """The frame that each input step of a piece this long leads to."""
        table = self.config.pattern.steps(num_frames)
        return frames_of_inputs(table, int(table.max()) + 1)

    def style_codes(self, clip: Clip) -> Int[Tensor, "K L"]:
        """What a style model hears of a clip.

        Raises:
            InvalidRequest: the model takes no style or has nothing to listen with, or the clip is too short.
        """
        if self.style is None:
            raise InvalidRequest("style: this model takes no style; leave it out, or use a style model")
        if self.style_features is None:
            raise InvalidRequest(f"style: {self.style.config.features} is not loaded; give style_codes, or load it")
        heard = excerpt(clip, self.style.config).resample(self.style_features.sample_rate_hz).to_channels(1)
        return self.style.codes(self.style_features.features(heard.samples[0]).to(self.device)).cpu()
