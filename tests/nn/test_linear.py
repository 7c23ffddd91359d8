"""Linear layers: packed or not, the same product."""

import copy

import pytest
import torch
from torch.nn import functional as F

from descant.nn import linear
from descant.nn.linear import Linear

needs_packing = pytest.mark.skipif(not linear._CAN_PACK, reason="this torch has no oneDNN to pack for")


def step(rows: int, width: int = 256) -> torch.Tensor:
    return torch.randn(rows, 1, width)


@pytest.mark.parametrize("num_outputs", [None, 100])
def test_a_step_is_the_product_with_the_weight(num_outputs):
    layer, rows = Linear(256, 768), step(4)
    with torch.no_grad():
        got = layer(rows, num_outputs)
        torch.testing.assert_close(got, F.linear(rows, layer.weight[:num_outputs]), rtol=1e-5, atol=1e-5)


@needs_packing
def test_a_step_without_gradients_is_packed_and_nothing_else_is(monkeypatch):
    layer, seen = Linear(256, 768), []
    packed_weight = Linear._packed_weight
    monkeypatch.setattr(Linear, "_packed_weight", lambda self, count: seen.append(count) or packed_weight(self, count))
    layer(step(4))
    with torch.no_grad():
        layer(torch.randn(4, 2, 256))
        layer(torch.randn(4, 256))
        layer.to(torch.bfloat16)(step(4).bfloat16())
        assert seen == []
        layer.float()(step(4))
        assert seen == [768]
        monkeypatch.setattr(linear, "LARGEST_PACKED", 1_000)
        layer(step(4))
        assert seen == [768]


def test_a_changed_weight_is_packed_anew():
    layer, rows = Linear(64, 32), step(4, 64)
    with torch.no_grad():
        layer(rows)
        layer.weight.mul_(2)
        torch.testing.assert_close(layer(rows), F.linear(rows, layer.weight), rtol=1e-5, atol=1e-5)
        layer.weight = torch.nn.Parameter(torch.randn(32, 64))
        torch.testing.assert_close(layer(rows), F.linear(rows, layer.weight), rtol=1e-5, atol=1e-5)


def test_a_copy_has_the_weights_and_packs_for_itself():
    layer, rows = Linear(64, 32), step(4, 64)
    with torch.no_grad():
        before = layer(rows)
        twin = copy.deepcopy(layer)
        layer.weight.zero_()
        torch.testing.assert_close(twin(rows), before)
    assert set(twin.state_dict()) == {"weight"}


@needs_packing
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("inputs", "outputs"), [(256, 768), (256, 1_024), (1_024, 256)])
def test_a_row_has_the_same_bits_whatever_stands_beside_it(threads, inputs, outputs):
    layer, rows = Linear(inputs, outputs), step(16, inputs)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            whole = layer(rows)
            for chosen in ([3, 9], [15, 0, 7, 1], list(range(8)), [5, 4, 3, 2, 1, 0]):
                assert torch.equal(layer(rows[chosen]), whole[chosen])
    finally:
        torch.set_num_threads(before)
