import sys

import pytest
import torch

from descant.conditioning.encoders.t5 import MAX_TOKENS, T5Encoder
from descant.errors import CheckpointError, InvalidRequest, MissingExtra

WORDS = ("warm", "slow", "piano", "drums", "techno", "with", "and", "a", "sad", "violin")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random T5 and a tokenizer of ten words, stored as the hub stores them."""
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("t5")
    vocabulary = {word: number for number, word in enumerate(["<pad>", "</s>", "<unk>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=len(vocabulary), d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    return T5Encoder.load(str(folder))


def test_t5_gives_what_transformers_gives_to_a_padded_batch(folder, encoder):
    import transformers

    texts = ["warm slow piano", "techno", "a sad violin with drums and piano"]
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    theirs = transformers.T5EncoderModel.from_pretrained(folder).eval()(**tokens).last_hidden_state
    ours = encoder.encode(texts)
    assert torch.equal(ours.mask, tokens.attention_mask.bool())
    torch.testing.assert_close(ours.values, theirs * tokens.attention_mask[:, :, None], rtol=0, atol=1e-5)


def test_t5_alone_is_t5_in_a_batch_bit_for_bit(encoder):
    batch = encoder.encode(["warm piano", None, "a sad violin with drums and piano"])
    alone = encoder.encode(["warm piano"])
    assert torch.equal(batch.values[0, :3], alone.values[0])
    assert not batch.values[0, 3:].any()
    assert not batch.values[1].any()
    assert not batch.mask[1].any()


def test_t5_is_float32_whatever_it_was_stored_in(folder, encoder, tmp_path):
    import transformers

    transformers.T5EncoderModel.from_pretrained(folder).to(torch.bfloat16).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    assert T5Encoder.load(str(tmp_path)).encode(["warm piano"]).values.dtype == torch.float32
    assert encoder.dim == 16


def test_t5_cuts_nothing_off(encoder):
    assert encoder.encode(["warm " * (MAX_TOKENS - 1)]).mask.sum() == MAX_TOKENS
    with pytest.raises(InvalidRequest, match=f"{MAX_TOKENS + 1} tokens"):
        encoder.encode(["warm " * MAX_TOKENS])


def test_a_moved_t5_gives_the_same_vectors(encoder):
    texts = ["warm piano", "techno"]
    assert torch.equal(encoder.to("cpu").encode(texts).values, encoder.encode(texts).values)


def test_a_folder_that_is_no_t5_is_a_checkpoint_error(tmp_path):
    pytest.importorskip("transformers")
    with pytest.raises(CheckpointError, match="no T5"):
        T5Encoder.load(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CheckpointError, match="a bert model"):
        T5Encoder.load(str(tmp_path))


def test_a_missing_weight_is_an_error_and_not_a_random_number(folder, tmp_path):
    import transformers
    from safetensors.torch import load_file, save_file

    transformers.T5EncoderModel.from_pretrained(folder).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["encoder.final_layer_norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="final_layer_norm"):
        T5Encoder.load(str(tmp_path))


def test_without_transformers_the_line_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtra, match=r'pip install "descant\[t5\]"'):
        T5Encoder.load("t5-base")
