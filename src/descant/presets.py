"""Named model shapes: values only. Weights come from a folder, a hub, or training."""

from collections.abc import Callable
from dataclasses import replace

from descant.codec.any import StereoCodecConfig
from descant.codec.encodec import EnCodecConfig
from descant.codec.spectral import SpectralCodecConfig
from descant.conditioning.chords import ChordsConfig
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.style import StyleConfig
from descant.conditioning.tempo_key import TempoKeyConfig
from descant.conditioning.text import SmallText, T5Text
from descant.lm.model import LMConfig
from descant.model import GenerationDefaults, MusicGenConfig
from descant.nn.transformer import TransformerConfig
from descant.patterns import Delay, delay


def tiny() -> MusicGenConfig:
    """Two layers sixteen wide: for tests, documents and trying things; sounds like noise, runs at once."""
    return MusicGenConfig(
        codec=EnCodecConfig(
            filters=2, latent_dim=8, lstm_layers=1, num_codebooks=4, codebook_size=32, kmeans_iterations=2
        ),
        lm=LMConfig(
            num_codebooks=4,
            codebook_size=32,
            transformer=TransformerConfig(width=16, num_heads=2, num_layers=2),
        ),
        pattern=delay(4),
        text=SmallText(),
        defaults=GenerationDefaults(top_k=16),
    )


STARTER_CODEC = SpectralCodecConfig(encoder_width=320, decoder_width=384, decoder_layers=6)


def starter() -> MusicGenConfig:
    """The model that ships with the package: small enough to be trained and to run on two processor cores."""
    return MusicGenConfig(
        codec=STARTER_CODEC,
        lm=LMConfig(
            num_codebooks=4,
            codebook_size=1_024,
            transformer=TransformerConfig(width=256, num_heads=4, num_layers=8, qk_norm=True, positions="rotary"),
        ),
        pattern=delay(4),
        text=SmallText(has_pooled_text=True),
        tempo_key=TempoKeyConfig(),
        melody=MelodyConfig(
            num_frames=79, bottleneck="strongest", fusion="sum", neighbours=2, part="mix", null="nothing"
        ),
        chords=ChordsConfig(),
        max_duration_s=10.0,
    )


def small() -> MusicGenConfig:
    """The released 300M model (420 M parameters with embeddings; arXiv 2306.05284, section 3.1)."""
    return _released(width=1_024, num_heads=16, num_layers=24)


def medium() -> MusicGenConfig:
    """The released 1.5B model."""
    return _released(width=1_536, num_heads=24, num_layers=48)


def large() -> MusicGenConfig:
    """The released 3.3B model."""
    return _released(width=2_048, num_heads=32, num_layers=48)


def melody() -> MusicGenConfig:
    """The released 1.5B model that follows melodies; it reads text and melody as a prefix."""
    return _released(width=1_536, num_heads=24, num_layers=48, has_melody=True)


def melody_large() -> MusicGenConfig:
    """The released 3.3B model that follows melodies."""
    return _released(width=2_048, num_heads=32, num_layers=48, has_melody=True)


def stereo_small() -> MusicGenConfig:
    """The released 300M stereo model: left and right share each delay."""
    return _released(width=1_024, num_heads=16, num_layers=24, is_stereo=True)


def stereo_medium() -> MusicGenConfig:
    """The released 1.5B stereo model."""
    return _released(width=1_536, num_heads=24, num_layers=48, is_stereo=True)


def stereo_large() -> MusicGenConfig:
    """The released 3.3B stereo model."""
    return _released(width=2_048, num_heads=32, num_layers=48, is_stereo=True)


def stereo_melody() -> MusicGenConfig:
    """The released 1.5B stereo model that follows melodies."""
    return _released(width=1_536, num_heads=24, num_layers=48, is_stereo=True, has_melody=True)


def stereo_melody_large() -> MusicGenConfig:
    """The released 3.3B stereo model that follows melodies."""
    return _released(width=2_048, num_heads=32, num_layers=48, is_stereo=True, has_melody=True)


def style() -> MusicGenConfig:
    """The released 1.5B model that resembles an excerpt (arXiv 2407.12563); it reads text and style as a prefix."""
    mono = _released(width=1_536, num_heads=24, num_layers=48, has_melody=True)
    return replace(mono, melody=None, style=StyleConfig())


def _released(
    *, width: int, num_heads: int, num_layers: int, is_stereo: bool = False, has_melody: bool = False
) -> MusicGenConfig:
    mono = EnCodecConfig()
    books = mono.num_codebooks * (2 if is_stereo else 1)
    return MusicGenConfig(
        codec=StereoCodecConfig(mono=mono) if is_stereo else mono,
        lm=LMConfig(
            num_codebooks=books,
            transformer=TransformerConfig(
                width=width, num_heads=num_heads, num_layers=num_layers, has_cross_attention=not has_melody
            ),
        ),
        pattern=Delay(delays=(0, 0, 1, 1, 2, 2, 3, 3)) if is_stereo else delay(books),
        text=T5Text(),
        melody=MelodyConfig() if has_melody else None,
    )


PRESETS: dict[str, Callable[[], MusicGenConfig]] = {
    "tiny": tiny,
    "starter": starter,
    "small": small,
    "medium": medium,
    "large": large,
    "melody": melody,
    "melody-large": melody_large,
    "stereo-small": stereo_small,
    "stereo-medium": stereo_medium,
    "stereo-large": stereo_large,
    "stereo-melody": stereo_melody,
    "stereo-melody-large": stereo_melody_large,
    "style": style,
}
