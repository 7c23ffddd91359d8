"""Products of single steps: packed or not, the same product, and a row's bits are its own."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from descant.generation.runtimes import packed_linears as module
from descant.generation.runtimes.packed_linears import PackedLinears, can_multiply_halves, can_pack, linear
from descant.nn.quantize import dequantize_rows, quantize_rows

needs_packing = pytest.mark.skipif(not can_pack(), reason="packed products are for torch with oneDNN on x86")


needs_halves = pytest.mark.skipif(
    not (can_pack() and can_multiply_halves()), reason="products with float16 weights are for torch with FBGEMM on x86"
)


def stored_in_int8(layer: nn.Linear) -> nn.Linear:
    with torch.no_grad():
        layer.weight.copy_(dequantize_rows(*quantize_rows(layer.weight)))
    return layer


def step(rows: int, width: int = 256) -> torch.Tensor:
    return torch.randn(rows, 1, width)


@pytest.fixture
def packed(monkeypatch):
    """The outputs of every weight that is packed."""
    seen = []
    reorder = torch.ops.mkldnn._reorder_linear_weight if can_pack() else None
    monkeypatch.setattr(
        torch.ops.mkldnn, "_reorder_linear_weight", lambda weight: seen.append(len(weight)) or reorder(weight)
    )
    return seen


@pytest.mark.parametrize("num_outputs", [None, 100])
def test_a_step_is_the_product_with_the_weight(num_outputs):
    layer, rows, linears = nn.Linear(256, 768, bias=False), step(4), PackedLinears()
    with torch.no_grad():
        expected = F.linear(rows, layer.weight[:num_outputs])
        for product in (linears, linears, linear):
            torch.testing.assert_close(product(layer, rows, num_outputs), expected, rtol=1e-5, atol=1e-5)


@needs_packing
def test_only_plain_float32_weights_that_are_small_enough_are_packed(packed, monkeypatch):
    layer, linears = nn.Linear(256, 768, bias=False), PackedLinears()
    with torch.no_grad():
        linears(nn.Linear(256, 768), step(4))
        linears(nn.Linear(256, 768, bias=False).bfloat16(), step(4).bfloat16())
        monkeypatch.setattr(module, "LARGEST_PACKED", 768 * 256)
        linears(layer, step(4))
        assert packed == []
        monkeypatch.undo()


@needs_packing
def test_a_weight_is_packed_at_its_first_step_only(packed):
    layer, linears = nn.Linear(256, 768, bias=False), PackedLinears()
    with torch.no_grad():
        for num_outputs in (None, None, 256, 256):
            linears(layer, step(4), num_outputs)
    assert packed == [768, 256]


@needs_packing
def test_weights_that_were_trained_meanwhile_are_noticed():
    """Updates by fused optimisers leave no trace on a tensor: only its values show that a packed copy is stale."""
    layer, rows, linears = nn.Linear(64, 32, bias=False), step(4, 64), PackedLinears()
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=True)
    with torch.no_grad():
        linears(layer, rows)
    assert linears.is_current()
    layer(rows).sum().backward()
    optimizer.step()
    assert not linears.is_current()


@needs_packing
def test_weights_in_another_precision_and_another_number_of_threads_are_noticed():
    layer, linears = nn.Linear(64, 32, bias=False), PackedLinears()
    with torch.no_grad():
        linears(layer, step(4, 64))
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    assert not linears.is_current()
    torch.set_num_threads(before)
    assert linears.is_current()
    layer.bfloat16()
    assert not linears.is_current()


def test_weights_made_under_inference_mode_multiply_too():
    with torch.inference_mode():
        layer = nn.Linear(64, 32, bias=False)
        assert PackedLinears()(layer, step(4, 64)).shape == (4, 1, 32)


def test_a_layer_of_another_class_is_called_itself():
    class Doubled(nn.Linear):
        def forward(self, rows):
            return 2 * super().forward(rows)

    layer, rows = Doubled(64, 32, bias=False), step(4, 64)
    with torch.no_grad():
        torch.testing.assert_close(PackedLinears()(layer, rows), 2 * F.linear(rows, layer.weight))


@needs_packing
def test_the_undocumented_operators_are_those_that_were_measured():
    assert str(torch.ops.mkldnn._linear_pointwise.default._schema) == (
        "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, str? algorithm) "
        "-> Tensor Y"
    )
    assert str(torch.ops.mkldnn._reorder_linear_weight.default._schema).startswith(
        "mkldnn::_reorder_linear_weight(Tensor self"
    )
    if can_multiply_halves():
        assert str(torch.ops.quantized.linear_dynamic_fp16.default._schema).startswith(
            "quantized::linear_dynamic_fp16(Tensor X, "
        )


@needs_halves
@pytest.mark.parametrize(("inputs", "outputs"), [(256, 768), (1_024, 256), (20, 33), (16, 16)])
def test_weights_stored_in_int8_are_multiplied_exactly(packed, inputs, outputs):
    layer, rows = stored_in_int8(nn.Linear(inputs, outputs, bias=False)), step(2, inputs)
    with torch.no_grad():
        exact = F.linear(rows.double(), layer.weight.double())
        product = PackedLinears()(layer, rows)
    assert (product - exact).abs().max() <= 2e-6 * exact.abs().max()
    assert packed == []


@needs_halves
def test_one_element_that_int8_cannot_hold_is_enough_for_the_float32_product(packed):
    layer = stored_in_int8(nn.Linear(256, 768, bias=False))
    with torch.no_grad():
        layer.weight[700, 3] *= 1.001
        PackedLinears()(layer, step(2))
    assert packed == [768]


@needs_packing
@pytest.mark.parametrize("is_int8", [False, True])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("inputs", "outputs"), [(256, 768), (256, 256), (256, 1_024), (1_024, 256), (1_000, 1_024)])
def test_a_row_has_the_same_bits_whatever_other_rows_there_are(threads, inputs, outputs, is_int8):
    layer, rows = nn.Linear(inputs, outputs, bias=False), step(64, inputs)
    if is_int8:
        stored_in_int8(layer)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            linears = PackedLinears()
            whole = linears(layer, rows)
            for chosen in ([3, 9], [15, 0, 7, 1], [*range(8)], [5, 4, 3, 2, 1, 0], [*range(16)], [*range(31, -1, -1)]):
                assert torch.equal(linears(layer, rows[chosen]), whole[chosen])
    finally:
        torch.set_num_threads(before)
