"""Our LM against transformers' MusicgenForCausalLM, from a tiny random config."""

import pytest
import torch

from descant.lm import LMConfig, MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.transformer import TransformerConfig

transformers = pytest.importorskip("transformers")

WIDTH, HEADS, LAYERS, CODEBOOKS, SIZE = 32, 4, 3, 4, 20


def renamed(theirs):
    """Our names for their weights; every one of theirs must be used."""
    theirs = dict(theirs)
    ours = {}
    for k in range(CODEBOOKS):
        ours[f"embeddings.{k}.weight"] = theirs.pop(f"model.decoder.embed_tokens.{k}.weight")
        ours[f"heads.{k}.weight"] = theirs.pop(f"lm_heads.{k}.weight")
    pairs = {
        "self_attention.out": "self_attn.out_proj",
        "cross_attention.out": "encoder_attn.out_proj",
        "mlp.up": "fc1",
        "mlp.down": "fc2",
        "norm1": "self_attn_layer_norm",
        "norm_cross": "encoder_attn_layer_norm",
        "norm2": "final_layer_norm",
    }
    for i in range(LAYERS):
        there, here = f"model.decoder.layers.{i}", f"blocks.{i}"
        for our, their in (("self_attention", "self_attn"), ("cross_attention", "encoder_attn")):
            parts = [theirs.pop(f"{there}.{their}.{part}_proj.weight") for part in "qkv"]
            ours[f"{here}.{our}.qkv.weight"] = torch.cat(parts)
        for our, their in pairs.items():
            for part in ("weight", "bias") if our.startswith("norm") else ("weight",):
                ours[f"{here}.{our}.{part}"] = theirs.pop(f"{there}.{their}.{part}")
    for part in ("weight", "bias"):
        ours[f"norm.{part}"] = theirs.pop(f"model.decoder.layer_norm.{part}")
    assert not [name for name in theirs if "embed_positions" not in name]
    return ours


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(1)
    config = transformers.MusicgenDecoderConfig(
        vocab_size=SIZE,
        max_position_embeddings=64,
        num_hidden_layers=LAYERS,
        ffn_dim=4 * WIDTH,
        num_attention_heads=HEADS,
        hidden_size=WIDTH,
        num_codebooks=CODEBOOKS,
        pad_token_id=SIZE,
        bos_token_id=SIZE,
        dropout=0.0,
    )
    theirs = transformers.MusicgenForCausalLM(config).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    ours = MusicLM(
        LMConfig(
            num_codebooks=CODEBOOKS,
            codebook_size=SIZE,
            transformer=TransformerConfig(width=WIDTH, num_heads=HEADS, num_layers=LAYERS),
        )
    ).eval()
    ours.load_state_dict(renamed(theirs.state_dict()))
    return ours, theirs


@torch.no_grad()
def their_logits(theirs, sequence, **conditions):
    logits = theirs(input_ids=sequence.flatten(0, 1), **conditions).logits
    return logits.unflatten(0, (len(sequence), CODEBOOKS))


@torch.no_grad()
def test_our_logits_are_theirs_without_a_condition(pair):
    ours, theirs = pair
    sequence = torch.randint(0, SIZE + 1, (2, CODEBOOKS, 13))
    torch.testing.assert_close(ours(sequence), their_logits(theirs, sequence), rtol=0, atol=1e-5)


@torch.no_grad()
def test_our_logits_are_theirs_with_padded_text(pair):
    ours, theirs = pair
    sequence, text = torch.randint(0, SIZE + 1, (3, CODEBOOKS, 13)), torch.randn(3, 6, WIDTH)
    mask = torch.arange(6) < torch.tensor([[6], [2], [4]])
    expected = their_logits(theirs, sequence, encoder_hidden_states=text, encoder_attention_mask=mask.long())
    torch.testing.assert_close(ours(sequence, LMInputs(text, mask)), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_our_null_condition_is_their_text_of_zeros(pair):
    """Their generation zeroes the text of the unconditional rows; ours leaves them nothing to attend to."""
    ours, theirs = pair
    sequence, text = torch.randint(0, SIZE + 1, (2, CODEBOOKS, 13)), torch.randn(2, 6, WIDTH)
    text[1] = 0
    mask = torch.tensor([[True] * 6, [False] * 6])
    expected = their_logits(theirs, sequence, encoder_hidden_states=text, encoder_attention_mask=mask.long())
    torch.testing.assert_close(ours(sequence, LMInputs(text, mask)), expected, rtol=0, atol=1e-5)
