from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer

from descant.conditioning.chords import ChordsConfig
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.clap import ClapConfig
from descant.conditioning.encoders.small import SmallTextConfig, SmallTextEncoder, SmallTextNetwork
from descant.conditioning.style import StyleConfig
from descant.conditioning.tempo_key import TempoKeyConfig
from tests.wordpieces import WORDS, make_wordpiece


@pytest.fixture
def words() -> tuple[str, ...]:
    return WORDS


@pytest.fixture
def wordpiece() -> Callable[..., Tokenizer]:
    return make_wordpiece


@pytest.fixture
def small_config() -> SmallTextConfig:
    return SmallTextConfig(
        vocab_size=4 + len(WORDS), width=24, num_layers=2, num_heads=4, mlp_width=40, embedding_rank=6, max_tokens=12
    )


@pytest.fixture
def small_encoder(small_config) -> SmallTextEncoder:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallTextEncoder(SmallTextNetwork(small_config), make_wordpiece())


@pytest.fixture(scope="session")
def every_condition() -> dict[str, object]:
    """Small configs of all conditions but the text, for ``make_model``."""
    return {
        "tempo_key": TempoKeyConfig(),
        "melody": MelodyConfig(num_frames=5),
        "style": StyleConfig(
            features="none", feature_dim=5, width=8, num_heads=2, num_layers=1, codebook_size=4, stride_frames=3
        ),
        "clap": ClapConfig(name="none", dim=8, num_codebooks=2, codebook_size=4),
        "chords": ChordsConfig(),
    }
