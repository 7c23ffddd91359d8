"""A tokenizer for tests of small text encoders."""

from collections.abc import Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

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
