"""audiocraft's settings of a language model and of its codec, and ours, each from the other.

The dataclasses here have audiocraft's words (config/model/lm, config/model/encodec, config/conditioner). A type that
allows one value only is a setting that we cannot honour otherwise; a key that is neither in a class nor known to change
nothing is an error. Sections that a model is not made of (optim, dataset.train, fsdp and so on) are passed over.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from descant import config as configs
from descant.checkpoints.audiocraft_yaml import at, number, only, resolved, section_at, whole_numbers
from descant.codec.encodec import EnCodecConfig
from descant.conditioning.chroma import MelodyConfig
from descant.errors import CheckpointError, ConfigError
from descant.lm.model import LMConfig
from descant.model import GenerationDefaults, MusicGenConfig, StereoCodecConfig, T5Text
from descant.nn.conv import PaddingMode
from descant.nn.transformer import TransformerConfig
from descant.patterns import AnyPattern, CoarseFirst, Delay, Flatten, Grouped, PartialFlatten, delay, parallel

Section = TypeVar("Section")
TEXT, MELODY = "description", "self_wav"

_IDLE = {
    # How attention is computed, and how weights began.
    "transformer_lm": (
        *("dropout", "emb_lr", "custom", "memory_efficient", "attention_as_float32", "checkpointing", "weight_init"),
        *("depthwise_init", "zero_bias_init", "attention_dropout", "two_step_cfg"),
    ),
    "encodec": ("renorm",),
    "seanet": (),
    "rvq": ("q_dropout", "kmeans_init", "orthogonal_reg_weight", "orthogonal_reg_active_codes_only"),
    f"conditioners.{TEXT}.t5": ("word_dropout", "normalize_text_p", "autocast_dtype"),
    f"conditioners.{MELODY}.chroma_stem": ("match_len_on_eval", "eval_wavs", "n_eval_wavs", "cache_path"),
    "fuser": ("cross_attention_pos_emb_scale",),
    "interleave_stereo_codebooks": (),
}
"""Keys that change nothing in what a trained model computes, section by section."""


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


def read_codec(plain: dict[str, Any]) -> EnCodecConfig:
    """Our config of a codec from its ``xp.cfg``.

    Raises:
        ConfigError: a setting that we cannot honour, by its name.
    """
    only(plain, "compression_model", "encodec")
    outer = _section(EncodecSection, plain, "encodec")
    seanet = _section(SEANetSection, plain, "seanet")
    rvq = _section(RVQSection, plain, "rvq")
    if (outer.channels, outer.causal) != (seanet.channels, seanet.causal):
        raise ConfigError(f"encodec.channels={outer.channels} and encodec.causal={outer.causal}: seanet says otherwise")
    return EnCodecConfig(
        **{ours: getattr(seanet, theirs) for ours, theirs in _SEANET_FIELDS.items()},
        **{ours: getattr(rvq, theirs) for ours, theirs in _RVQ_FIELDS.items()},
        sample_rate_hz=outer.sample_rate,
        has_conv_shortcut=not seanet.true_skip,
        decoder_filters=seanet.decoder.n_filters,
    )


def write_codec(config: EnCodecConfig) -> dict[str, Any]:
    """A codec's ``xp.cfg``.

    Raises:
        CheckpointError: the codec has something that audiocraft's EnCodec has not.
    """
    seanet = SEANetSection(
        **{theirs: getattr(config, ours) for ours, theirs in _SEANET_FIELDS.items()},
        norm="weight_norm",
        true_skip=not config.has_conv_shortcut,
        decoder=DecoderSection(n_filters=config.decoder_filters),
    )
    section = configs.to_dict(seanet)
    if config.decoder_filters is None:
        del section["decoder"]["n_filters"]  # there it would be a value, not the absence of one
    outer = EncodecSection(
        autoencoder="seanet",
        quantizer="rvq",
        sample_rate=config.sample_rate_hz,
        channels=config.num_channels,
        causal=config.is_causal,
    )
    rvq = RVQSection(**{theirs: getattr(config, ours) for ours, theirs in _RVQ_FIELDS.items()})
    plain = {
        "compression_model": "encodec",
        "sample_rate": config.sample_rate_hz,
        "channels": config.num_channels,
        "encodec": configs.to_dict(outer),
        "seanet": section,
        "rvq": configs.to_dict(rvq),
    }
    _refuse_differences(config, dataclasses.replace(read_codec(plain), dead_code_relative=config.dead_code_relative))
    return plain


_SEANET_FIELDS = {
    "num_channels": "channels",
    "latent_dim": "dimension",
    "filters": "n_filters",
    "strides": "ratios",
    "kernel_size": "kernel_size",
    "last_kernel_size": "last_kernel_size",
    "residual_kernel_size": "residual_kernel_size",
    "residual_layers": "n_residual_layers",
    "dilation_growth": "dilation_base",
    "compress": "compress",
    "lstm_layers": "lstm",
    "padding_mode": "pad_mode",
    "is_causal": "causal",
}
_RVQ_FIELDS = {
    "num_codebooks": "n_q",
    "codebook_size": "bins",
    "codebook_decay": "decay",
    "kmeans_iterations": "kmeans_iters",
    "dead_code_threshold": "threshold_ema_dead_code",
}


def read_model(plain: dict[str, Any], mono: EnCodecConfig, text_dim: int) -> MusicGenConfig:
    """Our config of a model from a language model's ``xp.cfg``, its codec, and the width of its text encoder.

    How codes are drawn is not among audiocraft's settings of a model: what its ``generate`` does by itself, and we do
    too, holds, or what ``write_model`` has noted.

    Raises:
        ConfigError: a setting that we cannot honour, by its name.
    """
    only(plain, "lm_model", "transformer_lm")
    section = _section(TransformerSection, plain, "transformer_lm")
    duration_s = number(plain, "dataset.segment_duration")
    melody = _read_melody(plain, duration_s)
    has_cross_attention = _has_cross_attention(plain)
    if section.cross_attention and not has_cross_attention:
        raise ConfigError("transformer_lm.cross_attention=True: nothing is there to attend to, fuser.cross is empty")
    is_stereo = _section(StereoSection, plain, "interleave_stereo_codebooks").use
    books = mono.num_codebooks * (2 if is_stereo else 1)
    for name, value in (
        ("transformer_lm.n_q", section.n_q),
        ("compression_model_n_q", at(plain, "compression_model_n_q")),
    ):
        if value != books and (value is not None):
            raise ConfigError(f"{name}={value!r:.80}: the codec has {books} codebooks, interleaved ones counted twice")
    noted = at(plain, "descant.defaults")
    return MusicGenConfig(
        codec=StereoCodecConfig(mono=mono) if is_stereo else mono,
        lm=LMConfig(
            num_codebooks=section.n_q,
            codebook_size=section.card,
            transformer=TransformerConfig(
                width=section.dim,
                num_heads=section.num_heads,
                num_layers=section.num_layers,
                mlp_scale=section.hidden_scale,
                has_cross_attention=has_cross_attention,
            ),
        ),
        pattern=_read_pattern(plain, section),
        text=T5Text(name=_t5_name(plain), dim=text_dim),
        max_duration_s=duration_s,
        melody=melody,
        defaults=GenerationDefaults() if noted is None else configs.from_dict(GenerationDefaults, noted, "descant"),
    )


def write_model(config: MusicGenConfig) -> dict[str, Any]:
    """A language model's ``xp.cfg``.

    Raises:
        CheckpointError: the model has something that audiocraft's MusicGen has not; the message names it.
    """
    if not isinstance(config.text, T5Text):
        raise CheckpointError("audiocraft's layout knows no text encoder but T5: this model has one of its own")
    mono = config.codec.mono if isinstance(config.codec, StereoCodecConfig) else config.codec
    if not isinstance(mono, EnCodecConfig):
        raise CheckpointError(f"audiocraft's layout knows no codec but EnCodec: this is a {type(mono).__name__}")
    transformer = config.lm.transformer
    section = TransformerSection(
        dim=transformer.width,
        num_heads=transformer.num_heads,
        num_layers=transformer.num_layers,
        hidden_scale=transformer.mlp_scale,
        n_q=config.lm.num_codebooks,
        card=config.lm.codebook_size,
        norm_first=True,
        bias_ff=False,
        bias_attn=False,
        bias_proj=False,
        cross_attention=transformer.has_cross_attention,
    )
    place = "cross" if transformer.has_cross_attention else "prepend"
    plain: dict[str, Any] = {
        "lm_model": "transformer_lm",
        "sample_rate": mono.sample_rate_hz,
        "channels": 2 if isinstance(config.codec, StereoCodecConfig) else mono.num_channels,
        "interleave_stereo_codebooks": {"use": isinstance(config.codec, StereoCodecConfig), "per_timestep": False},
        "dataset": {"segment_duration": config.max_duration_s},
        "codebooks_pattern": _write_pattern(config.pattern),
        "transformer_lm": {**configs.to_dict(section), "dropout": transformer.dropout},
        "conditioners": {TEXT: {"model": "t5", "t5": {"name": config.text.name, "finetune": False}}},
        "fuser": {"cross": [], "prepend": [], "sum": [], "input_interpolate": [], place: [TEXT]},
        "classifier_free_guidance": {"training_dropout": 0.0, "inference_coef": config.defaults.guidance},
        "attribute_dropout": {},
        "descant": {"defaults": configs.to_dict(config.defaults)},
    }
    del plain["transformer_lm"]["q_modeling"]
    if config.melody is not None:
        plain["fuser"]["prepend"].insert(0, MELODY)
        plain["conditioners"][MELODY] = _write_melody(config.melody)
    again = read_model(plain, mono, config.text.dim)
    lm = dataclasses.replace(again.lm.transformer, dropout=transformer.dropout)
    _refuse_differences(transformer, lm)
    _refuse_differences(config, dataclasses.replace(again, lm=dataclasses.replace(again.lm, transformer=lm)))
    return plain


def _read_pattern(plain: dict[str, Any], section: TransformerSection) -> AnyPattern:
    """The order of codes; older files name it in the language model's section."""
    books = section.n_q
    where = "codebooks_pattern"
    name = at(plain, f"{where}.modeling") or section.q_modeling
    if not isinstance(name, str):
        raise ConfigError(f"{where}.modeling={name!r:.80}: expected the name of a pattern")
    options = at(plain, f"{where}.{name}") if name in _PATTERN_OPTIONS else None
    given = {key: resolved(plain, value) for key, value in options.items()} if isinstance(options, dict) else {}
    known = {key: given.pop(key) for key in _PATTERN_OPTIONS.get(name, ()) if given.get(key) is not None}
    odd = [key for key, value in given.items() if key not in known and value not in (None, 0)]
    if odd:
        raise ConfigError(f"{where}.{name}.{odd[0]}={given[odd[0]]!r:.80}: cannot be honoured; 0 is allowed")
    if name == "parallel":
        return parallel(books)
    if name == "delay":
        return Delay(delays=whole_numbers(known["delays"], f"{where}.delay")) if "delays" in known else delay(books)
    if name in ("coarse_first", "valle"):
        return CoarseFirst(delays=(0, *whole_numbers(known.get("delays", [0] * (books - 1)), f"{where}.{name}")))
    if name == "musiclm":
        return Grouped(num_codebooks=books, group_size=whole_numbers([known.get("group_by", 2)], f"{where}.musiclm")[0])
    if name == "unroll" and not any(whole_numbers(known.get("delays", []), f"{where}.unroll")):
        for pattern, flattening in ((Flatten(books), range(books)), (PartialFlatten(books), [0] + [1] * (books - 1))):
            if known.get("flattening", list(range(books))) == list(flattening):
                return pattern
    raise ConfigError(f"{where}.modeling={name!r:.80} with {known}: there is no such pattern here")


_PATTERN_OPTIONS = {
    "parallel": (),
    "delay": ("delays",),
    "coarse_first": ("delays",),
    "valle": ("delays",),
    "musiclm": ("group_by",),
    "unroll": ("flattening", "delays"),
}


def _write_pattern(pattern: AnyPattern) -> dict[str, Any]:
    if isinstance(pattern, Delay):
        return {"modeling": "delay", "delay": {"delays": list(pattern.delays), "flatten_first": 0, "empty_initial": 0}}
    if isinstance(pattern, CoarseFirst):
        return {"modeling": "coarse_first", "coarse_first": {"delays": list(pattern.delays[1:])}}
    if isinstance(pattern, Grouped):
        return {"modeling": "musiclm", "musiclm": {"group_by": pattern.group_size}}
    books = pattern.num_codebooks
    flattening = list(range(books)) if isinstance(pattern, Flatten) else [0] + [1] * (books - 1)
    return {"modeling": "unroll", "unroll": {"flattening": flattening, "delays": [0] * books}}


def _read_melody(plain: dict[str, Any], duration_s: float) -> MelodyConfig | None:
    where = f"conditioners.{MELODY}"
    if at(plain, where) is None:
        return None
    only(plain, f"{where}.model", "chroma_stem")
    section = _section(ChromaSection, plain, f"{where}.chroma_stem")
    window = 2**section.radix2_exp
    hop = window // 4
    return MelodyConfig(
        sample_rate_hz=section.sample_rate,
        num_pitches=section.n_chroma,
        window_samples=window,
        hop_samples=hop,
        num_frames=1 + int(duration_s * section.sample_rate) // hop,
    )


def _write_melody(config: MelodyConfig) -> dict[str, Any]:
    exponent = config.window_samples.bit_length() - 1
    section = ChromaSection(
        sample_rate=config.sample_rate_hz, n_chroma=config.num_pitches, radix2_exp=exponent, argmax=True
    )
    return {"model": "chroma_stem", "chroma_stem": configs.to_dict(section)}


def _has_cross_attention(plain: dict[str, Any]) -> bool:
    """Whether the text is attended to; else it is a prefix, as a melody always is."""
    fuser = _section(FuserSection, plain, "fuser")
    named = at(plain, "conditioners")
    others = (
        sorted(str(name) for name in named if name not in (TEXT, MELODY, "args")) if isinstance(named, dict) else []
    )
    if others:
        raise ConfigError(f"conditioners.{others[0]:.80}: cannot be honoured; {TEXT} and {MELODY} are read here")
    melody = [] if at(plain, f"conditioners.{MELODY}") is None else [MELODY]
    # The order within a prefix is the conditioners', not this one's.
    told = sorted(fuser.cross), sorted(fuser.prepend)
    if told not in (([TEXT], melody), ([], [TEXT, *melody])) or fuser.sum or fuser.input_interpolate:
        raise ConfigError(f"{fuser}: {TEXT} must be in cross or in prepend, {MELODY} in prepend, and nothing else")
    return bool(fuser.cross)


def _t5_name(plain: dict[str, Any]) -> str:
    where = f"conditioners.{TEXT}"
    only(plain, f"{where}.model", "t5")
    return _section(T5Section, plain, f"{where}.t5").name


def _section(kind: type[Section], plain: dict[str, Any], path: str) -> Section:
    return configs.from_dict(kind, section_at(plain, path, _IDLE[path]), path)


def _refuse_differences(ours: Any, again: Any) -> None:
    for item in dataclasses.fields(ours):
        value, kept = getattr(ours, item.name), getattr(again, item.name)
        if value != kept:
            raise CheckpointError(
                f"{item.name}={value!r:.80} has no place in audiocraft's layout, which has {kept!r:.80}"
            )
