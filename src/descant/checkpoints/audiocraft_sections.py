"""audiocraft's settings of a language model and of its codec, as dataclasses.

Names are audiocraft's (config/model/lm, config/model/encodec, config/conditioner). A type that allows one value only is
a setting whose other values are not supported; a key that is neither in a class nor in ``IGNORED_KEYS`` is an error.
Sections that do not describe the model (optim, dataset.train, fsdp and so on) are not read.
"""

from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from descant import config as configs
from descant.checkpoints.audiocraft_yaml import section_at
from descant.codec.encodec import EnCodecConfig
from descant.errors import ConfigError
from descant.nn.conv import PaddingMode

Section = TypeVar("Section")
TEXT, MELODY = "description", "self_wav"

IGNORED_KEYS = {
    # Implementations of attention, and initialisation.
    "transformer_lm": (
        *("dropout", "emb_lr", "custom", "memory_efficient", "attention_as_float32", "checkpointing", "weight_init"),
        *("depthwise_init", "zero_bias_init", "attention_dropout", "two_step_cfg"),
    ),
    "encodec": ("renorm",),
    "seanet": (),
    "rvq": ("q_dropout", "kmeans_init", "orthogonal_reg_weight", "orthogonal_reg_active_codes_only"),
    f"conditioners.{TEXT}.t5": ("word_dropout", "normalize_text_p", "autocast_dtype"),
    f"conditioners.{MELODY}.chroma_stem": ("match_len_on_eval", "eval_wavs", "n_eval_wavs", "cache_path"),
    f"conditioners.{MELODY}.style": (
        *("encodec_checkpoint", "encodec_n_q", "q_dropout", "compute_mask", "num_codebooks_lm", "ds_rate_compression"),
        *("use_middle_of_segment", "rvq_threshold_ema_dead_code"),
    ),
    "fuser": ("cross_attention_pos_emb_scale",),
    "interleave_stereo_codebooks": (),
}
"""Keys that do not change what a trained model computes, by section."""


T5_NAMES = (
    *("t5-small", "t5-base", "t5-large", "t5-3b", "t5-11b"),
    *(f"google/flan-t5-{size}" for size in ("small", "base", "large", "xl", "xxl")),
)
"""The text encoders that audiocraft supports: it finds them by name."""


@dataclass(frozen=True, kw_only=True)
class TransformerSection:
    dim: int
    num_heads: int
    num_layers: int
    n_q: int
    card: int
    norm_first: Literal[True]
    bias_ff: Literal[False]
    bias_attn: Literal[False]
    bias_proj: Literal[False]
    causal: Literal[True] = True
    hidden_scale: int = 4
    cross_attention: bool = False
    q_modeling: str | None = None
    activation: Literal["gelu"] = "gelu"
    norm: Literal["layer_norm"] = "layer_norm"
    past_context: Literal[None] = None
    layer_scale: Literal[None] = None
    positional_embedding: Literal["sin"] = "sin"
    positional_scale: float = 1.0
    xpos: Literal[False] = False
    qk_layer_norm: Literal[False] = False
    qk_layer_norm_cross: Literal[False] = False
    kv_repeat: Literal[1] = 1

    def __post_init__(self) -> None:
        if self.positional_scale != 1.0:
            raise ConfigError(f"transformer_lm.positional_scale={self.positional_scale}: allowed is 1")


@dataclass(frozen=True, kw_only=True)
class FuserSection:
    cross: tuple[str, ...] = ()
    prepend: tuple[str, ...] = ()
    sum: tuple[str, ...] = ()
    input_interpolate: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    cross_attention_pos_emb: Literal[False] = False


@dataclass(frozen=True, kw_only=True)
class T5Section:
    name: str
    finetune: Literal[False] = False
    normalize_text: Literal[False] = False

    def __post_init__(self) -> None:
        if self.name not in T5_NAMES:
            raise ConfigError(f"t5.name={self.name!r:.80}: allowed are {', '.join(T5_NAMES)}")


@dataclass(frozen=True, kw_only=True)
class ChromaSection:
    sample_rate: int
    n_chroma: int = 12
    radix2_exp: int = 12
    argmax: Literal[True]

    def __post_init__(self) -> None:
        if not 3 <= self.radix2_exp <= 24:
            raise ConfigError(f"chroma_stem.radix2_exp={self.radix2_exp}: must be from 3 to 24")


@dataclass(frozen=True, kw_only=True)
class StyleSection:
    model_name: Literal["mert"]
    transformer_scale: Literal["default", "xsmall", "large"] = "default"
    sample_rate: int
    length: float
    ds_factor: int = 15
    n_q_out: int = 6
    eval_q: int = 3
    bins: int = 1_024
    batch_norm: Literal[True] = True
    varying_lengths: tuple[float, ...] = (1.5, 4.5)

    def __post_init__(self) -> None:
        if len(self.varying_lengths) != 2:
            raise ConfigError(f"style.varying_lengths={self.varying_lengths}: expected the shortest and the longest")


@dataclass(frozen=True, kw_only=True)
class StereoSection:
    use: bool = False
    per_timestep: Literal[False] = False


@dataclass(frozen=True, kw_only=True)
class EncodecSection:
    autoencoder: Literal["seanet"]
    quantizer: Literal["rvq"]
    sample_rate: int
    channels: int
    causal: bool = False
    renormalize: Literal[False] = False


@dataclass(frozen=True, kw_only=True)
class DecoderSection:
    n_filters: int | None = None
    trim_right_ratio: float = 1.0
    final_activation: Literal[None] = None
    final_activation_params: Literal[None] = None

    def __post_init__(self) -> None:
        if self.trim_right_ratio != 1.0:
            raise ConfigError(f"seanet.decoder.trim_right_ratio={self.trim_right_ratio}: allowed is 1")


@dataclass(frozen=True, kw_only=True)
class SEANetSection:
    dimension: int
    n_filters: int
    ratios: tuple[int, ...]
    n_residual_layers: int
    lstm: int
    norm: Literal["weight_norm"]
    channels: int = 1
    causal: bool = False
    activation: Literal["ELU"] = "ELU"
    activation_params: dict[str, Any] = field(default_factory=lambda: {"alpha": 1.0})
    norm_params: dict[str, Any] = field(default_factory=dict)
    kernel_size: int = 7
    residual_kernel_size: int = 3
    last_kernel_size: int = 7
    dilation_base: int = 2
    pad_mode: PaddingMode = "reflect"
    true_skip: bool = True
    compress: int = 2
    disable_norm_outer_blocks: Literal[0] = 0
    decoder: DecoderSection = field(default_factory=DecoderSection)
    encoder: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, allowed in (("activation_params", {"alpha": 1.0}), ("norm_params", {}), ("encoder", {})):
            if getattr(self, name) != allowed:
                raise ConfigError(f"seanet.{name}={getattr(self, name)!r:.80}: allowed is {allowed}")


@dataclass(frozen=True, kw_only=True)
class RVQSection:
    n_q: int
    bins: int
    decay: float = EnCodecConfig.codebook_decay
    kmeans_iters: int = EnCodecConfig.kmeans_iterations
    threshold_ema_dead_code: float = EnCodecConfig.dead_code_threshold


def section_of(kind: type[Section], plain: dict[str, Any], path: str) -> Section:
    return configs.from_dict(kind, section_at(plain, path, IGNORED_KEYS[path]), path)
