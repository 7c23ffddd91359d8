"""A whole MusicGen as one module: codec, language model, conditioners, and the pattern of the codes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from descant.codec.any import AnyCodecConfig, build_codec, codebooks_of
from descant.conditioning.base import Conditioner, Conditions, FrameSpan, Fusion, TextEncoder, TextLimit
from descant.conditioning.chords import ChordsConditioner, ChordsConfig
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.clap import ClapConditioner, ClapConfig, JointEncoder
from descant.conditioning.fuser import fuse
from descant.conditioning.melody import MelodyConditioner
from descant.conditioning.prior import Prior
from descant.conditioning.style import StyleConditioner, StyleConfig, StyleFeatures
from descant.conditioning.tempo_key import TempoKeyConditioner, TempoKeyConfig
from descant.conditioning.text import SmallText, T5Text, TextConditioner
from descant.errors import ConfigError, InvalidRequest
from descant.lm.model import LMConfig, MusicLM
from descant.nn.float64 import in_float64
from descant.nn.inputs import LMInputs
from descant.patterns import AnyPattern, frames_of_inputs


@dataclass(frozen=True, kw_only=True)
class GenerationDefaults:
    """The settings with which this model sounds best, for requests that leave them open: found by listening."""

    temperature: float = 1.0
    top_k: int = 250
    top_p: float = 1.0
    guidance: float = 3.0
    melody_guidance: float | None = None
    hold_penalty: float = 0.0

    def __post_init__(self) -> None:
        guidances = (self.guidance, 0.0 if self.melody_guidance is None else self.melody_guidance)
        is_positive = self.temperature > 0 and self.top_k >= 0 and min(*guidances, self.hold_penalty) >= 0
        if not (is_positive and 0 < self.top_p <= 1):
            raise ConfigError(
                f"{self}: temperature must be above 0, top_k 0 or more, top_p above 0 to 1, guidances and hold_penalty "
                "0 or more"
            )


@dataclass(frozen=True, kw_only=True)
class MusicGenConfig:
    """Everything that is needed to build a model, without its weights.

    Args:
        tempo_key: for tempo and key as numbers, in addition to the text that states them; None in the released models.
        max_duration_s: the longest clip that the language model was trained on.
        melody, style, clap, chords: None for a model without this condition.
    """

    codec: AnyCodecConfig
    lm: LMConfig
    pattern: AnyPattern
    text: T5Text | SmallText
    tempo_key: TempoKeyConfig | None = None
    max_duration_s: float = 30.0
    defaults: GenerationDefaults = field(default_factory=GenerationDefaults)
    melody: MelodyConfig | None = None
    style: StyleConfig | None = None
    clap: ClapConfig | None = None
    chords: ChordsConfig | None = None

    def __post_init__(self) -> None:
        num_codebooks, codebook_size = codebooks_of(self.codec)
        transformer = self.lm.transformer
        if not num_codebooks == self.lm.num_codebooks == self.pattern.num_codebooks:
            raise ConfigError(
                f"the codec has {num_codebooks} codebooks, the language model {self.lm.num_codebooks} "
                f"and the pattern {self.pattern.num_codebooks}: they must be the same"
            )
        if codebook_size != self.lm.codebook_size:
            raise ConfigError(
                f"the codec has {codebook_size} entries a codebook, the language model {self.lm.codebook_size}"
            )
        if not self.text.has_projection and self.text.dim != transformer.width:
            raise ConfigError(
                f"text.has_projection=False needs text.dim={self.text.dim} to be "
                f"lm.transformer.width={transformer.width}"
            )
        if self.melody is not None and self.melody.fusion == "cross" and not transformer.has_cross_attention:
            raise ConfigError("melody.fusion='cross' needs lm.transformer.has_cross_attention; take prefix or sum")
        if not self.max_duration_s > 0:
            raise ConfigError(f"max_duration_s={self.max_duration_s}: must be above 0")


PreparedConditions: TypeAlias = Mapping[str, Any]
"""The conditions of some rows as ``Conditioner.prepare`` returns them, by the name of the conditioner."""


class MusicGenModel(nn.Module):
    """Codec, language model and conditioners; its ``state_dict`` holds them and nothing else.

    Args:
        text_encoder, style_features, clap_encoder: the frozen encoders, which are not part of the weights. A style
            model without ``style_features`` takes styles as codes only; a model with a joint space can be trained
            without ``clap_encoder``, but not conditioned on texts.
        prior: of a model with tempo and key, and perhaps chords, as conditions, for the texts that leave them open.
    """

    def __init__(
        self,
        config: MusicGenConfig,
        text_encoder: TextEncoder,
        style_features: StyleFeatures | None = None,
        clap_encoder: JointEncoder | None = None,
        prior: Prior | None = None,
    ) -> None:
        super().__init__()
        if style_features is not None and config.style is None:
            raise ConfigError("style_features: this model takes no style")
        if clap_encoder is not None and config.clap is None:
            raise ConfigError(f"clap_encoder is made for {clap_encoder.config}, the model for no joint space")
        if prior is not None and config.tempo_key is None:
            raise ConfigError("prior: this model has no tempo and key as conditions")
        self.config, self.prior = config, prior
        self.codec = build_codec(config.codec)
        self.lm = MusicLM(config.lm)
        width = config.lm.transformer.width
        text_fusion: Fusion = "cross" if config.lm.transformer.has_cross_attention else "prefix"
        self.text = TextConditioner(config.text, width, text_encoder, text_fusion)
        self.tempo_key = None if config.tempo_key is None else TempoKeyConditioner(config.tempo_key, width)
        self.melody = None if config.melody is None else MelodyConditioner(config.melody, width)
        self.style = None if config.style is None else StyleConditioner(config.style, width, style_features)
        self.clap = None if config.clap is None else ClapConditioner(config.clap, width, clap_encoder, text_fusion)
        self.chords = None if config.chords is None else ChordsConditioner(config.chords, width)

    @property
    def conditioners(self) -> tuple[Conditioner[Any], ...]:
        """The conditioners that this model has, in the order in which their embeddings are joined.

        In the order of their creation, but those before the text first: the released melody model was trained on
        melody, text, codes (audiocraft, ConditionFuser, which puts each next condition in front of the ones before).
        """
        present = [module for module in self.children() if isinstance(module, Conditioner)]
        if self.config.clap is not None and self.config.clap.replaces_text:
            present.remove(self.text)
        return tuple(sorted(present, key=lambda conditioner: not conditioner.is_before_text))

    @property
    def device(self) -> torch.device:
        """Where the language model is."""
        return self.lm.norm.weight.device

    def prepare(self, rows: Sequence[Conditions]) -> PreparedConditions:
        """What the conditioners compute once for these rows, whatever windows of the music follow.

        Raises:
            InvalidRequest: the model does not take one of the conditions, or its encoder refuses it.
        """
        known = {"text", *(name for conditioner in self.conditioners for name in conditioner.reads)}
        unknown = sorted({name for row in rows for name, value in row.items() if value is not None} - known)
        if unknown:
            raise InvalidRequest(f"{unknown[0]}: this model takes no {unknown[0]}; it takes {', '.join(sorted(known))}")
        return {conditioner.name: conditioner.prepare(rows) for conditioner in self.conditioners}

    def span(
        self, num_frames: int = 1, *, first_s: float = 0.0, first_beats: Float[Tensor, " B"] | None = None
    ) -> FrameSpan:
        """The frames of a window of the music, for ``inputs``; the arguments are those of ``FrameSpan``."""
        steps = self.config.pattern.steps(num_frames)
        return FrameSpan(
            num_frames=num_frames,
            frame_rate_hz=self.codec.frame_rate_hz,
            input_frames=frames_of_inputs(steps, int(steps.max()) + 1),
            first_s=first_s,
            first_beats=first_beats,
        )

    def inputs(
        self,
        prepared: PreparedConditions,
        span: FrameSpan,
        drop: Mapping[str, Bool[Tensor, " B"]] | None = None,
        *,
        is_exact: bool = False,
    ) -> LMInputs:
        """The inputs of the language model for a window, in generation and in training.

        Args:
            drop: for each condition by name the rows in which it is dropped (``ConditionDropout.rows``).
            is_exact: whether a CPU computes them in float64 before they are rounded, so that they are the same on every
                processor (``nn.float64``).
        """
        embedded = []
        for conditioner in self.conditioners:
            dropped = None if drop is None else drop.get(conditioner.condition)
            is_converted = is_exact and self.device.type == "cpu"
            embed = in_float64(conditioner, keep=conditioner.float32_parts) if is_converted else conditioner
            by_fusion = embed(prepared[conditioner.name], span, dropped)
            embedded.append(
                {fusion: part.to(self.device, self.lm.norm.weight.dtype) for fusion, part in by_fusion.items()}
            )
        return fuse(embedded)

    def text_limits(self) -> list[TextLimit]:
        """The limits of all encoders that read a text."""
        return [limit for conditioner in self.conditioners for limit in conditioner.text_limits()]

    def to_precision(self, dtype: torch.dtype) -> "MusicGenModel":
        """This model, its language model and conditioners in a precision; whatever computes codes stays in float32."""
        self.lm.to(dtype)
        for conditioner in self.conditioners:
            conditioner.to_precision(dtype)
        return self

    def to_device(self, device: torch.device) -> "MusicGenModel":
        """This model and its frozen encoders on a device; CLAP's stays on the CPU (``ClapConditioner``)."""
        for conditioner in self.conditioners:
            conditioner.move_encoder(device)
        return self.to(device)
