from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer

from descant.conditioning.encoders.small import SmallTextConfig, SmallTextEncoder, SmallTextNetwork
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
