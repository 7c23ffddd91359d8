"""Weights in 8-bit integers: the model is that of the rounded weights, in half the memory of float16."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from descant.generation.runtimes.int8_linear import Int8Linear, store_in_int8
from descant.generation.runtimes.static import StaticRuntime
from descant.lm import LMConfig, MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.quantize import dequantize_rows, quantize_rows
from descant.nn.transformer import TransformerConfig


def models(dtype: torch.dtype = torch.float32) -> tuple[MusicLM, MusicLM]:
    """One with rounded weights, and the same in integers."""
    torch.manual_seed(0)
    config = LMConfig(
        num_codebooks=3, codebook_size=11, transformer=TransformerConfig(width=64, num_heads=4, num_layers=2)
    )
    rounded = MusicLM(config).to(dtype).eval().requires_grad_(False)
    integers = copy.deepcopy(rounded)
    for layer in rounded.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.copy_(dequantize_rows(*quantize_rows(layer.weight)))
    store_in_int8(integers)
    return rounded, integers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_a_layer_multiplies_with_what_its_integers_stand_for(dtype):
    layer = Int8Linear(*quantize_rows(torch.randn(40, 24)), dtype)
    rows = torch.randn(2, 3, 24).to(dtype)
    expected = F.linear(rows.double(), dequantize_rows(layer.numbers, layer.scale).double())
    assert layer(rows).dtype == layer.weight.dtype == dtype
    torch.testing.assert_close(layer(rows).double(), expected, rtol=0, atol=2 * 24 * torch.finfo(dtype).eps)
    torch.testing.assert_close(layer.part(rows, 3, 7), layer(rows)[..., 3:7])


def test_every_linear_layer_is_stored_in_integers():
    _, integers = models()
    assert not any(isinstance(module, nn.Linear) for module in integers.modules())
    assert sum(isinstance(module, Int8Linear) for module in integers.modules()) == 2 * 6 + 3


def test_the_model_takes_half_the_memory_of_float16():
    rounded, integers = models(torch.float16)

    def num_bytes(lm: MusicLM) -> int:
        tensors = [*lm.blocks.parameters(), *lm.blocks.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    assert num_bytes(integers) < 0.55 * num_bytes(rounded)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_model_is_that_of_the_rounded_weights(dtype):
    rounded, integers = models(dtype)
    sequence = torch.randint(0, 12, (2, 3, 9))
    inputs = LMInputs(cross=torch.randn(2, 5, 64, dtype=dtype))
    expected = rounded(sequence, inputs)
    tolerance = 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(integers(sequence, inputs), expected, rtol=0, atol=tolerance)
    session = StaticRuntime(integers).start()
    slots, logits = session.join(inputs, sequence[:, :, :2], 9)
    steps = [logits, *(session.step(slots, sequence[:, :, step]) for step in range(2, 9))]
    torch.testing.assert_close(torch.stack(steps, dim=2), expected[:, :, 1:], rtol=0, atol=tolerance)
