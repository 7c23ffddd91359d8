from collections.abc import Callable, Sequence

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.clap import ClapConfig
from descant.conditioning.small_text import SmallTextConfig, SmallTextEncoder, SmallTextNetwork
from descant.conditioning.style import StyleConfig
from descant.conditioning.tempo_key import TempoKeyConfig

WORDS = ("warm", "slow", "piano", "drums", "techno", "lo", "fi", "a", "with", "and", ",", "-", "bass", "jazz", "sad")
WORDS += ("happy", "loud", "soft", "violin", "##s", "##ming", "drum")


def make_wordpiece(words: Sequence[str] = WORDS) -> Tokenizer:
    """A tokenizer shaped like MiniLM's, with few words."""
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *words])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    return tokenizer


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
    }
