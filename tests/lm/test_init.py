"""Where a language model starts from."""

import math

import pytest
import torch

from descant.lm.init import shrink_attention_by_depth, start_from_codebooks
from descant.lm.model import LMConfig, MusicLM
from descant.nn.transformer import TransformerConfig


def untrained(codebooks) -> MusicLM:
    torch.manual_seed(0)
    shape = TransformerConfig(width=128, num_heads=2, num_layers=2)
    lm = MusicLM(LMConfig(num_codebooks=2, codebook_size=50, transformer=shape))
    start_from_codebooks(lm.embeddings, lm.heads, codebooks)
    return lm.eval()


def test_an_untrained_model_predicts_that_a_code_stays_what_it_was():
    lm = untrained([torch.randn(50, 16) for _ in range(2)])
    sequence = torch.randint(0, 50, (4, 2, 20))
    with torch.no_grad():
        likeliest = lm(sequence).argmax(dim=-1)
    assert (likeliest == sequence).float().mean() > 0.9


def test_codes_that_are_near_in_the_codebook_begin_near_in_the_model():
    codebook = torch.randn(50, 16)
    codebook[1] = codebook[0] + 0.01
    table = untrained([codebook, codebook]).embeddings[0].weight
    others = torch.cdist(table[:1], table[2:50]).min()
    assert torch.dist(table[0], table[1]) < others


def test_queries_keys_and_values_start_as_torchs_layers_at_every_depth():
    """As audiocraft's do: its depthwise initialisation does not reach in_proj_weight, which is in no linear layer."""
    torch.manual_seed(0)
    lm = MusicLM(LMConfig(transformer=TransformerConfig(width=128, num_heads=2, num_layers=3)))
    attention = [(block.self_attention.qkv, block.cross_attention.qkv) for block in lm.blocks]
    for linear in (linear for layer in attention for linear in layer):
        assert linear.weight.abs().max() <= 1 / math.sqrt(128), "a uniform distribution"
        assert linear.weight.std().item() == pytest.approx(1 / math.sqrt(3 * 128), rel=0.02)
    shrink_attention_by_depth(lm.blocks)
    for layer, linears in enumerate(attention):
        for linear in linears:
            assert linear.weight.std().item() == pytest.approx(0.987 / math.sqrt(128 * 2 * (layer + 1)), rel=0.02)
