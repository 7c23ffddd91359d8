"""Conversion between audiocraft's settings of a codec and our config."""

import dataclasses
from typing import Any

from descant import config as configs
from descant.checkpoints.audiocraft_sections import (
    DecoderSection,
    EncodecSection,
    RVQSection,
    SEANetSection,
    section_of,
)
from descant.checkpoints.audiocraft_yaml import only
from descant.checkpoints.round_trip import refuse_differences
from descant.codec.encodec import EnCodecConfig
from descant.errors import ConfigError


def read_codec(plain: dict[str, Any]) -> EnCodecConfig:
    """Our config of a codec from its ``xp.cfg``.

    Raises:
        ConfigError: a setting is not supported; the message names it.
    """
    only(plain, "compression_model", "encodec")
    outer = section_of(EncodecSection, plain, "encodec")
    seanet = section_of(SEANetSection, plain, "seanet")
    rvq = section_of(RVQSection, plain, "rvq")
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
        CheckpointError: audiocraft's EnCodec does not support this codec.
    """
    seanet = SEANetSection(
        **{theirs: getattr(config, ours) for ours, theirs in _SEANET_FIELDS.items()},
        norm="weight_norm",
        true_skip=not config.has_conv_shortcut,
        decoder=DecoderSection(n_filters=config.decoder_filters),
    )
    section = configs.to_dict(seanet)
    if config.decoder_filters is None:
        del section["decoder"]["n_filters"]  # in YAML it would be a value, not the absence of one
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
    again = dataclasses.replace(read_codec(plain), dead_code_relative=config.dead_code_relative)
    refuse_differences(config, again, "audiocraft")
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
