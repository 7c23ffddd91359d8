"""Any codec by its config: what its codes look like, and a codec of that shape."""

from dataclasses import dataclass
from typing import TypeAlias

from descant.codec.base import AudioCodec
from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.codec.spectral import SpectralCodec, SpectralCodecConfig
from descant.codec.stereo import StereoCodec


@dataclass(frozen=True, kw_only=True)
class StereoCodecConfig:
    """A mono codec applied to the left and the right channel."""

    mono: EnCodecConfig | SpectralCodecConfig


AnyCodecConfig: TypeAlias = EnCodecConfig | SpectralCodecConfig | StereoCodecConfig


def codebooks_of(config: AnyCodecConfig) -> tuple[int, int]:
    """The number of codebooks of such a codec, and the number of entries of each."""
    if isinstance(config, StereoCodecConfig):
        num_codebooks, codebook_size = codebooks_of(config.mono)
        return 2 * num_codebooks, codebook_size
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
