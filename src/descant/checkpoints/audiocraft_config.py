"""Conversion between audiocraft's settings of a language model and our config."""

import dataclasses
from typing import Any

from descant import config as configs
from descant.checkpoints.audiocraft_sections import (
    MELODY,
    T5_NAMES,
    TEXT,
    ChromaSection,
    FuserSection,
    StereoSection,
    StyleSection,
    T5Section,
    TransformerSection,
    section_of,
)
from descant.checkpoints.audiocraft_yaml import at, number, only, resolved, whole_numbers
from descant.checkpoints.round_trip import refuse_differences
from descant.codec.any import StereoCodecConfig
from descant.codec.encodec import EnCodecConfig
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.style import StyleConfig
from descant.conditioning.text import T5Text
from descant.errors import CheckpointError, ConfigError
from descant.lm.model import LMConfig
from descant.model import GenerationDefaults, MusicGenConfig
from descant.nn.transformer import TransformerConfig
from descant.patterns import AnyPattern, CoarseFirst, Delay, Flatten, Grouped, PartialFlatten, delay, parallel


def read_model(plain: dict[str, Any], mono: EnCodecConfig, text_dim: int) -> MusicGenConfig:
    """Our config of a model from a language model's ``xp.cfg``, its codec, and the width of its text encoder.

    Sampling is not among audiocraft's settings of a model: the defaults are those of its ``generate``, which are ours
    too, or those that ``write_model`` has stored.

    Raises:
        ConfigError: a setting is not supported; the message names it.
    """
    only(plain, "lm_model", "transformer_lm")
    section = section_of(TransformerSection, plain, "transformer_lm")
    duration_s = number(plain, "dataset.segment_duration")
    melody, style = _read_audio_condition(plain, duration_s)
    has_cross_attention = _has_cross_attention(plain)
    if section.cross_attention and not has_cross_attention:
        raise ConfigError("transformer_lm.cross_attention=True: there is nothing to attend to, fuser.cross is empty")
    is_stereo = section_of(StereoSection, plain, "interleave_stereo_codebooks").use
    books = mono.num_codebooks * (2 if is_stereo else 1)
    for name, value in (
        ("transformer_lm.n_q", section.n_q),
        ("compression_model_n_q", at(plain, "compression_model_n_q")),
    ):
        if value != books and (value is not None):
            raise ConfigError(f"{name}={value!r:.80}: the codec has {books} codebooks, for stereo counted twice")
    stored_defaults = at(plain, "descant.defaults")
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
        style=style,
        defaults=(
            GenerationDefaults()
            if stored_defaults is None
            else configs.from_dict(GenerationDefaults, stored_defaults, "descant")
        ),
    )


def write_model(config: MusicGenConfig) -> dict[str, Any]:
    """A language model's ``xp.cfg``.

    Raises:
        CheckpointError: audiocraft's MusicGen does not support the model; the message says why.
    """
    if not isinstance(config.text, T5Text):
        raise CheckpointError("audiocraft's layout supports only T5 as text encoder: this model has another one")
    if config.text.name not in T5_NAMES:
        raise CheckpointError(
            f"text.name={config.text.name!r:.80}: audiocraft's layout holds no text encoder, it names one of "
            f"{', '.join(T5_NAMES)}"
        )
    if config.clap is not None:
        raise CheckpointError("audiocraft's layout is written without CLAP: this model has CLAP conditioning")
    mono = config.codec.mono if isinstance(config.codec, StereoCodecConfig) else config.codec
    if not isinstance(mono, EnCodecConfig):
        raise CheckpointError(f"audiocraft's layout supports only EnCodec: this is a {type(mono).__name__}")
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
    if config.melody is not None and config.style is not None:
        raise CheckpointError("audiocraft's layout has one audio condition: this model has melody and style")
    if config.melody is not None or config.style is not None:
        plain["fuser"]["prepend"].insert(0, MELODY)
    if config.melody is not None:
        plain["conditioners"][MELODY] = _write_melody(config.melody)
    if config.style is not None:
        plain["conditioners"][MELODY] = _write_style(config.style, mono.sample_rate_hz, config.lm.num_codebooks)
    again = read_model(plain, mono, config.text.dim)
    lm = dataclasses.replace(again.lm.transformer, dropout=transformer.dropout)
    refuse_differences(transformer, lm, "audiocraft")
    if config.melody is not None:
        refuse_differences(config.melody, again.melody, "audiocraft")
    again = dataclasses.replace(again, lm=dataclasses.replace(again.lm, transformer=lm))
    refuse_differences(config, again, "audiocraft")
    return plain


def _read_pattern(plain: dict[str, Any], section: TransformerSection) -> AnyPattern:
    """The codebook pattern; older files name it in the language model's section."""
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
        raise ConfigError(f"{where}.{name}.{odd[0]}={given[odd[0]]!r:.80}: not supported; 0 is allowed")
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
    raise ConfigError(f"{where}.modeling={name!r:.80} with {known}: this pattern is not supported")


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


def _read_audio_condition(plain: dict[str, Any], duration_s: float) -> tuple[MelodyConfig | None, StyleConfig | None]:
    """The audio condition: a melody, a style, or none. audiocraft has one name for both."""
    where = f"conditioners.{MELODY}"
    if at(plain, where) is None:
        return None, None
    if at(plain, f"{where}.model") == "style":
        return None, _read_style(section_of(StyleSection, plain, f"{where}.style"))
    only(plain, f"{where}.model", "chroma_stem")
    return _read_melody(section_of(ChromaSection, plain, f"{where}.chroma_stem"), duration_s), None


def _read_melody(section: ChromaSection, duration_s: float) -> MelodyConfig:
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


_STYLE_SCALES = {"default": (512, 8, 8), "xsmall": (256, 8, 4), "large": (1_024, 16, 24)}
"""Width, heads and layers of the style transformer."""


def _read_style(section: StyleSection) -> StyleConfig:
    width, heads, layers = _STYLE_SCALES[section.transformer_scale]
    return StyleConfig(
        width=width,
        num_heads=heads,
        num_layers=layers,
        num_codebooks=section.n_q_out,
        codebook_size=section.bins,
        used_codebooks=section.eval_q,
        stride_frames=section.ds_factor,
        excerpt_s=section.length,
        min_excerpt_s=section.varying_lengths[0],
        max_excerpt_s=max(section.varying_lengths[1], section.length),
    )


def _write_style(config: StyleConfig, sample_rate_hz: int, num_codebooks: int) -> dict[str, Any]:
    shape = (config.width, config.num_heads, config.num_layers)
    scale = next((name for name, theirs in _STYLE_SCALES.items() if theirs == shape), "default")
    section = {
        "model_name": "mert",
        "transformer_scale": scale,
        "sample_rate": sample_rate_hz,
        "length": config.excerpt_s,
        "ds_factor": config.stride_frames,
        "n_q_out": config.num_codebooks,
        "eval_q": config.used_codebooks,
        "bins": config.codebook_size,
        "varying_lengths": [config.min_excerpt_s, config.max_excerpt_s],
        "batch_norm": True,
        # audiocraft requires these too; they have no effect where the features are MERT's.
        "encodec_checkpoint": "//pretrained/facebook/encodec_32khz",
        "encodec_n_q": 3,
        "num_codebooks_lm": num_codebooks,
        "ds_rate_compression": 640,
        "compute_mask": True,
        "q_dropout": True,
        "use_middle_of_segment": False,
        "rvq_threshold_ema_dead_code": 0.1,
    }
    return {"model": "style", "style": section}


def _has_cross_attention(plain: dict[str, Any]) -> bool:
    """Whether the text goes to cross-attention; otherwise it is a prefix, as a melody always is."""
    fuser = section_of(FuserSection, plain, "fuser")
    named = at(plain, "conditioners")
    others = (
        sorted(str(name) for name in named if name not in (TEXT, MELODY, "args")) if isinstance(named, dict) else []
    )
    if others:
        raise ConfigError(f"conditioners.{others[0]:.80}: not supported; allowed are {TEXT} and {MELODY}")
    melody = [] if at(plain, f"conditioners.{MELODY}") is None else [MELODY]
    # The order within a prefix is that of the conditioners, not of this list.
    places = sorted(fuser.cross), sorted(fuser.prepend)
    if places not in (([TEXT], melody), ([], [TEXT, *melody])) or fuser.sum or fuser.input_interpolate:
        raise ConfigError(f"{fuser}: {TEXT} must be in cross or in prepend, {MELODY} in prepend, and no others")
    return bool(fuser.cross)


def _t5_name(plain: dict[str, Any]) -> str:
    where = f"conditioners.{TEXT}"
    only(plain, f"{where}.model", "t5")
    return section_of(T5Section, plain, f"{where}.t5").name
