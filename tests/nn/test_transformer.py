"""Blocks, their attention and their cache."""

from dataclasses import replace

import pytest
import torch

from descant.errors import ConfigError
from descant.nn.attention import CrossAttention, SelfAttention
from descant.nn.inputs import LMInputs
from descant.nn.kv_cache import LayerCache, StaticCache
from descant.nn.transformer import Transformer, TransformerConfig

SMALL = TransformerConfig(width=16, num_heads=2, num_layers=2)


def test_a_row_with_nothing_to_attend_to_gets_exactly_zero():
    attention = CrossAttention(16, 2)
    context = LMInputs(torch.randn(2, 3, 16), torch.tensor([[True, False, True], [False] * 3])).context()
    out = attention(torch.randn(2, 5, 16), context)
    assert out[0].abs().min() > 0
    assert out[1].eq(0).all()


def test_padding_changes_nothing():
    attention, hidden, cross = CrossAttention(16, 2), torch.randn(1, 5, 16), torch.randn(1, 3, 16)
    padded = LMInputs(torch.cat([cross, torch.randn(1, 4, 16)], 1), torch.arange(7)[None] < 3)
    torch.testing.assert_close(attention(hidden, padded.context()), attention(hidden, LMInputs(cross).context()))


@pytest.mark.parametrize("is_causal", [True, False])
def test_only_causal_attention_ignores_later_steps(is_causal):
    attention, hidden = SelfAttention(16, 2, is_causal=is_causal), torch.randn(1, 6, 16)
    changed = hidden.clone()
    changed[:, 4:] += 1
    same = torch.allclose(attention(hidden)[:, :4], attention(changed)[:, :4], atol=1e-6)
    assert same == is_causal


@pytest.mark.parametrize("changes", [{}, {"qk_norm": True}, {"residual_scale": True}], ids=str)
@pytest.mark.parametrize("cuts", [[1] * 7, [3, 1, 3], [1, 6], [7]], ids=str)
def test_chunks_through_a_cache_give_what_one_pass_gives(changes, cuts):
    config = replace(SMALL, **changes)
    transformer, hidden = Transformer(config), torch.randn(2, 7, 16)
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    context = LMInputs(torch.randn(2, 3, 16)).context()
    layers = [LayerCache(torch.zeros(2, 2, 9, 8), torch.zeros(2, 2, 9, 8)) for _ in range(2)]
    cache = StaticCache(layers, positions=torch.zeros(9, 16))
    chunks = [transformer(chunk, context, cache) for chunk in hidden.split(cuts, dim=1)]
    assert cache.length == 7
    torch.testing.assert_close(torch.cat(chunks, dim=1), transformer(hidden, context), rtol=0, atol=1e-5)


def test_dropout_works_in_training_only():
    transformer, hidden = Transformer(replace(SMALL, dropout=0.5)), torch.randn(1, 4, 16)
    assert not torch.equal(transformer(hidden), transformer(hidden))
    transformer.eval()
    assert torch.equal(transformer(hidden), transformer(hidden))


def test_the_released_blocks_have_no_extra_weights():
    names = {name for name, _ in Transformer(replace(SMALL, num_layers=1)).named_parameters()}
    norms = {f"0.{norm}.{part}" for norm in ("norm1", "norm_cross", "norm2") for part in ("weight", "bias")}
    layers = ("self_attention.qkv", "self_attention.out", "cross_attention.qkv", "cross_attention.out")
    assert names == norms | {f"0.{layer}.weight" for layer in (*layers, "mlp.up", "mlp.down")}


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 15},
        {"num_heads": 3},
        {"num_layers": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"positions": "rotary", "width": 6},
    ],
    ids=str,
)
def test_a_config_that_contradicts_itself_is_refused(changes):
    with pytest.raises(ConfigError):
        replace(SMALL, **changes)
