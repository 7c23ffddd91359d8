"""Our T5 is transformers' T5, bit for bit, in every shape and stored precision."""

import pytest
import torch

from descant.conditioning.encoders.t5_network import T5Config, T5Network
from descant.conditioning.encoders.weights import HeldWeights
from descant.errors import ConfigError

KINDS = {
    "T5": {},
    "FLAN-T5": {"feed_forward_proj": "gated-gelu"},
    "gated SiLU": {"feed_forward_proj": "gated-silu"},
    "few buckets": {"relative_attention_num_buckets": 16, "relative_attention_max_distance": 20},
    "narrow heads": {"d_kv": 5, "num_heads": 3},
}


def theirs(**changes):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shape = {"vocab_size": 50, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_heads": 4}
    config = transformers.T5Config(**{**shape, "decoder_start_token_id": 0, **changes})
    network = transformers.T5EncoderModel(config).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(std=0.2)
    return network


def weights_of(network) -> HeldWeights:
    return HeldWeights({n: t for n, t in network.state_dict().items() if n != "encoder.embed_tokens.weight"})


@pytest.mark.parametrize("changes", KINDS.values(), ids=KINDS)
def test_vectors_are_those_of_transformers(changes):
    network = theirs(**changes)
    config, weights = T5Config.of(network.config.to_dict()), weights_of(network)
    assert {name: tuple(tensor.shape) for name, tensor in weights.items()} == config.shapes()
    for length in (1, 2, 9, 200):
        tokens = torch.randint(0, 50, (length,), generator=torch.Generator().manual_seed(length))
        expected = network(input_ids=tokens[None]).last_hidden_state[0]
        assert torch.equal(T5Network(config, weights)(tokens[None])[0], expected), length


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_are_used_as_they_are_in_float32(dtype):
    network = theirs().to(dtype)
    config, tokens = T5Config.of(network.config.to_dict()), torch.arange(7)
    halves = T5Network(config, weights_of(network))(tokens[None])[0]
    assert halves.dtype == torch.float32
    assert torch.equal(halves, T5Network(config, weights_of(network.float()))(tokens[None])[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_layers", 0), ("relative_attention_num_buckets", 2), ("dense_act_fn", "someone/kernel")],
)
def test_an_impossible_config_is_an_error(name, value):
    plain = {**theirs().config.to_dict(), name: value}
    with pytest.raises(ConfigError, match=name):
        T5Config.of(plain)
