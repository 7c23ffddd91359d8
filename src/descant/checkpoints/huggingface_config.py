"""Conversion between transformers' configs of MusicGen and EnCodec and ours."""

import dataclasses
from typing import Any

from descant import config as configs
from descant.checkpoints.huggingface_sections import (
    CODEC_FIELDS,
    RATE,
    DecoderSection,
    EncodecSection,
    MusicGenSection,
    section_of,
)
from descant.checkpoints.round_trip import refuse_differences
from descant.codec.any import AnyCodecConfig, StereoCodecConfig
from descant.codec.encodec import EnCodecConfig
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.text import T5Text
from descant.errors import CheckpointError, ConfigError
from descant.model import GenerationDefaults, MusicGenConfig
from descant.patterns import AnyPattern, delay, stereo_partial_delay

PADDED_STEPS = 2_048
DEFAULT_DURATION_S = 30.0
UNNAMED = "text_encoder"
"""The name of a text encoder that came with a model without a name."""
_CODEC_TRAINING = ("codebook_decay", "kmeans_iterations", "dead_code_threshold", "dead_code_relative")


def read_model(plain: dict[str, Any], generation: dict[str, Any], processor: dict[str, Any]) -> MusicGenConfig:
    """Our config from config.json, generation_config.json and preprocessor_config.json.

    Raises:
        ConfigError: a value is not supported, or contradicts another; the message names it.
    """
    section = section_of(MusicGenSection, plain, "")
    decoder, text = section.decoder, section.text_encoder
    if (section.model_type == "musicgen_melody") != (decoder.model_type == "musicgen_melody_decoder"):
        raise ConfigError(f"decoder.model_type={decoder.model_type!r} in a model of type {section.model_type!r}")
    if text.get("model_type", "t5") != "t5":
        raise ConfigError(f"text_encoder.model_type={text['model_type']!r}: only t5 is allowed")
    if type(text.get("d_model")) is not int:
        raise ConfigError(f"text_encoder.d_model={text.get('d_model')!r:.80}: must be a number")
    width = decoder.cross_attention_hidden_size
    if width is not None and not width == text["d_model"] == decoder.hidden_size:
        raise ConfigError(
            f"decoder.cross_attention_hidden_size={width}: must be null, or equal to text_encoder.d_model "
            "and decoder.hidden_size; transformers has no projection then"
        )
    if section.model_type == "musicgen_melody" and section.num_chroma == decoder.hidden_size:
        raise ConfigError(
            f"num_chroma={section.num_chroma}: must differ from decoder.hidden_size; otherwise transformers has no "
            "projection between the two"
        )
    _check_special_codes(generation, decoder.vocab_size)
    mono = _codec_for(decoder, section.audio_encoder)
    return MusicGenConfig(
        codec=mono if decoder.audio_channels == 1 else StereoCodecConfig(mono=mono),
        lm=decoder.ours,
        pattern=_pattern(decoder.audio_channels, decoder.num_codebooks),
        text=T5Text(
            name=text.get("_name_or_path") or UNNAMED,
            dim=text["d_model"],
            # transformers has no projection between equal widths.
            has_projection=text["d_model"] != decoder.hidden_size,
        ),
        max_duration_s=_duration_s(generation, mono),
        defaults=_defaults(generation),
        melody=_melody(section, mono, processor) if section.model_type == "musicgen_melody" else None,
    )


def unused_codebooks(plain: dict[str, Any]) -> range:
    """The codebook levels of its codec that a model does not use: an EnCodec can have more than the language model.

    Raises:
        ConfigError: as ``read_model``.
    """
    section = section_of(MusicGenSection, plain, "")
    return range(_codec_for(section.decoder, section.audio_encoder).num_codebooks, section.audio_encoder.num_codebooks)


def _codec_for(decoder: DecoderSection, codec: EncodecSection) -> EnCodecConfig:
    """The codec with only the language model's codebooks: the first ones, since each refines those before it."""
    num_codebooks = decoder.num_codebooks // decoder.audio_channels
    if codec.codebook_size != decoder.vocab_size:
        raise ConfigError(
            f"decoder.vocab_size={decoder.vocab_size}: must be audio_encoder.codebook_size={codec.codebook_size}"
        )
    if num_codebooks > codec.num_codebooks:
        raise ConfigError(
            f"decoder.num_codebooks={decoder.num_codebooks}: audio_encoder.target_bandwidths allows "
            f"{codec.num_codebooks} per channel"
        )
    if codec.audio_channels != 1 and decoder.audio_channels != 1:
        raise ConfigError(
            f"audio_encoder.audio_channels={codec.audio_channels}: must be 1 where decoder.audio_channels is 2"
        )
    return dataclasses.replace(codec.ours, num_codebooks=num_codebooks)


def _check_special_codes(generation: dict[str, Any], special: int) -> None:
    for name in ("decoder_start_token_id", "bos_token_id", "pad_token_id"):
        if generation.get(name, special) not in (special, None):
            raise ConfigError(
                f"generation_config.{name}={generation[name]!r:.80}: must be decoder.vocab_size={special}"
            )
    if generation.get("eos_token_id") is not None:
        raise ConfigError(f"generation_config.eos_token_id={generation['eos_token_id']!r:.80}: must be null")


def read_codec(plain: dict[str, Any]) -> EnCodecConfig:
    """Our config from the config.json of an EncodecModel.

    Raises:
        ConfigError: as ``read_model``.
    """
    return section_of(EncodecSection, plain, "").ours


def write_model(config: MusicGenConfig, text_encoder: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """config.json, generation_config.json and preprocessor_config.json of a model, by these names.

    Args:
        text_encoder: the T5's own config.

    Raises:
        CheckpointError: transformers' MusicGen does not support the model; the message says why.
    """
    if not isinstance(config.text, T5Text):
        raise CheckpointError(f"transformers' MusicGen has a T5 text encoder, this model {type(config.text).__name__}")
    if config.style is not None:
        raise CheckpointError("transformers has no MusicGen with style conditioning: write another layout")
    if config.clap is not None:
        raise CheckpointError("transformers has no MusicGen with CLAP conditioning: write another layout")
    if config.melody is not None and config.lm.transformer.has_cross_attention:
        raise CheckpointError("transformers' MusicGen with melodies has no cross-attention, this model has")
    mono = _encodec(config.codec.mono if isinstance(config.codec, StereoCodecConfig) else config.codec)
    transformer, special = config.lm.transformer, config.lm.codebook_size
    is_melody = not transformer.has_cross_attention
    decoder = DecoderSection(
        model_type="musicgen_melody_decoder" if is_melody else "musicgen_decoder",
        vocab_size=special,
        hidden_size=transformer.width,
        ffn_dim=transformer.width * transformer.mlp_scale,
        num_hidden_layers=transformer.num_layers,
        num_attention_heads=transformer.num_heads,
        num_codebooks=config.lm.num_codebooks,
        audio_channels=2 if isinstance(config.codec, StereoCodecConfig) else 1,
        pad_token_id=special,
        bos_token_id=special,
    )
    model: dict[str, Any] = {
        "architectures": [
            "MusicgenMelodyForConditionalGeneration" if is_melody else "MusicgenForConditionalGeneration"
        ],
        "model_type": "musicgen_melody" if is_melody else "musicgen",
        "is_encoder_decoder": True,
        "text_encoder": {**text_encoder, "model_type": "t5", "_name_or_path": config.text.name},
        "audio_encoder": write_codec(mono),
        "decoder": {
            **configs.to_dict(decoder),
            "dropout": transformer.dropout,
            "max_position_embeddings": PADDED_STEPS,
        },
    }
    generation = {
        "bos_token_id": special,
        "pad_token_id": special,
        "decoder_start_token_id": special,
        "do_sample": True,
        "max_length": max(1, round(config.max_duration_s * _frame_rate_hz(mono))),
        **{their: getattr(config.defaults, our) for our, their in _DEFAULTS.items()},
    }
    if config.melody is not None:
        model |= {"num_chroma": config.melody.num_pitches, "chroma_length": config.melody.num_frames}
    processor = _processor(config, mono)
    try:
        again = read_model(model, generation, processor)
    except ConfigError as error:
        raise CheckpointError(f"transformers has no such model: {error}") from error
    refuse_differences(_inference_part(config), _inference_part(again), "transformers")
    return {"config.json": model, "generation_config.json": generation, "preprocessor_config.json": processor}


def write_codec(config: AnyCodecConfig) -> dict[str, Any]:
    """config.json of an EncodecModel.

    Raises:
        CheckpointError: transformers' EnCodec does not support the codec; the message says why.
    """
    config = _encodec(config)
    theirs = {their: getattr(config, our) for our, their in CODEC_FIELDS.items()}
    if config.codebook_size & (config.codebook_size - 1) or config.lstm_layers < 1:
        raise CheckpointError(
            f"codebook_size={config.codebook_size}, lstm_layers={config.lstm_layers}: transformers' EnCodec needs "
            "a power of two and at least one"
        )
    bits = _frame_rate_hz(config) * (config.codebook_size - 1).bit_length()
    # Half a codebook more where the exact number would be rounded down to one too few.
    for books in (config.num_codebooks, config.num_codebooks + 0.5):
        section = EncodecSection(**theirs, codebook_dim=config.codebook_dim, target_bandwidths=(books * bits / RATE,))
        if section.num_codebooks == config.num_codebooks:
            break
    refuse_differences(_inference_part(config), _inference_part(section.ours), "transformers")
    return {"architectures": ["EncodecModel"], **configs.to_dict(section)}


def _encodec(config: AnyCodecConfig) -> EnCodecConfig:
    if not isinstance(config, EnCodecConfig):
        raise CheckpointError(f"transformers has no codec like {type(config).__name__}: only EnCodec is supported")
    return config


_DEFAULTS = {"temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "guidance": "guidance_scale"}
_MELODY_FIELDS = {"sample_rate_hz": "sampling_rate", "window_samples": "n_fft", "hop_samples": "hop_length"}


def _melody(section: MusicGenSection, codec: EnCodecConfig, processor: dict[str, Any]) -> MelodyConfig:
    stored = {our: processor[their] for our, their in _MELODY_FIELDS.items() if processor.get(their) is not None}
    plain = {"sample_rate_hz": codec.sample_rate_hz, **stored}
    return configs.from_dict(
        MelodyConfig,
        {**plain, "num_pitches": section.num_chroma, "num_frames": section.chroma_length},
        "preprocessor_config",
    )


def _processor(config: MusicGenConfig, codec: EnCodecConfig) -> dict[str, Any]:
    """The config of transformers' processor: the audio format of the codec, or the chromagram of a melody."""
    shared = {"sampling_rate": codec.sample_rate_hz, "padding_side": "left", "padding_value": 0.0}
    if config.melody is None:
        return {
            "feature_extractor_type": "EncodecFeatureExtractor",
            "processor_class": "MusicgenProcessor",
            "feature_size": 2 if isinstance(config.codec, StereoCodecConfig) else 1,
            "return_attention_mask": True,
            **shared,
        }
    return {
        "feature_extractor_type": "MusicgenMelodyFeatureExtractor",
        "processor_class": "MusicgenMelodyProcessor",
        "feature_size": config.melody.num_pitches,
        "num_chroma": config.melody.num_pitches,
        "chunk_length": round(config.max_duration_s),
        **shared,
        **{their: getattr(config.melody, our) for our, their in _MELODY_FIELDS.items()},
    }


def _defaults(generation: dict[str, Any]) -> GenerationDefaults:
    stored = {our: generation[their] for our, their in _DEFAULTS.items() if generation.get(their) is not None}
    return configs.from_dict(GenerationDefaults, stored, "generation_config")


def _duration_s(generation: dict[str, Any], codec: EnCodecConfig) -> float:
    frames = generation.get("max_length")
    if frames is None:
        return DEFAULT_DURATION_S
    if type(frames) is not int or frames < 1:
        raise ConfigError(f"generation_config.max_length={frames!r:.80}: must be a number of frames")
    return frames / _frame_rate_hz(codec)


def _frame_rate_hz(codec: EnCodecConfig) -> int:
    return codec.sample_rate_hz // codec.hop_samples


def _pattern(channels: int, num_codebooks: int) -> AnyPattern:
    return delay(num_codebooks) if channels == 1 else stereo_partial_delay(num_codebooks)


def _inference_part(config: Any) -> Any:
    """The config with everything that only matters in training, or only as a default, set to a fixed value."""
    if isinstance(config, StereoCodecConfig):
        return StereoCodecConfig(mono=_inference_part(config.mono))
    if isinstance(config, EnCodecConfig):
        training: dict[str, Any] = {name: getattr(EnCodecConfig, name) for name in _CODEC_TRAINING}
        widths: dict[str, Any] = {
            "codebook_dim": config.codebook_dim or config.latent_dim,
            "decoder_filters": config.decoder_filters or config.filters,
        }
        return dataclasses.replace(config, **training, **widths)
    transformer = dataclasses.replace(config.lm.transformer, dropout=0.0)
    return dataclasses.replace(
        config,
        codec=_inference_part(config.codec),
        lm=dataclasses.replace(config.lm, transformer=transformer),
        max_duration_s=DEFAULT_DURATION_S,
    )
