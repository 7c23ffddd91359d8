"""Named model shapes: values only. Weights come from a folder, a hub, or training."""

from collections.abc import Callable

from descant.codec.encodec import EnCodecConfig
from descant.codec.spectral import SpectralCodecConfig
from descant.conditioning.facts import FactsConfig
from descant.lm.model import LMConfig
from descant.model import GenerationDefaults, MusicGenConfig, SmallText, StereoCodecConfig, T5Text
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


def starter() -> MusicGenConfig:
    """The model that ships with the package: small enough to be trained and to run on two processor cores."""
    return MusicGenConfig(
        codec=SpectralCodecConfig(),
        lm=LMConfig(
            num_codebooks=4,
            codebook_size=1_024,
            transformer=TransformerConfig(width=256, num_heads=4, num_layers=8, qk_norm=True, positions="rotary"),
        ),
        pattern=delay(4),
        text=SmallText(has_sentence=True),
        facts=FactsConfig(),
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


def stereo_small() -> MusicGenConfig:
    """The released 300M stereo model: left and right share each delay."""
    return _released(width=1_024, num_heads=16, num_layers=24, is_stereo=True)


def _released(*, width: int, num_heads: int, num_layers: int, is_stereo: bool = False) -> MusicGenConfig:
    mono = EnCodecConfig()
    books = mono.num_codebooks * (2 if is_stereo else 1)
    return MusicGenConfig(
        codec=StereoCodecConfig(mono=mono) if is_stereo else mono,
        lm=LMConfig(
            num_codebooks=books,
            transformer=TransformerConfig(width=width, num_heads=num_heads, num_layers=num_layers),
        ),
        pattern=Delay(delays=(0, 0, 1, 1, 2, 2, 3, 3)) if is_stereo else delay(books),
        text=T5Text(),
    )


PRESETS: dict[str, Callable[[], MusicGenConfig]] = {
    "tiny": tiny,
    "starter": starter,
    "small": small,
    "medium": medium,
    "large": large,
    "stereo-small": stereo_small,
}
