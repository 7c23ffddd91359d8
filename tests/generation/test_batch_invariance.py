"""A row has the same bits in any batch, at every height that the engine can use, for every kind of product."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from descant.generation.batch_invariance import (
    BASE_HEIGHT,
    FEWEST_ROWS,
    HIGH_HEIGHTS,
    LOW_HEIGHTS,
    Heights,
    measure_heights,
    padded_rows,
)
from descant.generation.runtimes import packed_linears as module
from descant.generation.runtimes.packed_linears import PackedLinears
from descant.nn.quantize import dequantize_rows, quantize_rows

ENGINE_HEIGHTS = (1, FEWEST_ROWS, 4, 8, 16, 32, 64)
"""Powers of two, as `generation/decode.py` pads batches; 1 and 64 are for other callers of a runtime."""

SHAPES = [(256, 768), (256, 256), (256, 1_024), (1_024, 256), (1_000, 1_024), (20, 33)]
KINDS = ["float16", "packed float32", "float32", "bfloat16"]


def layer_of(kind: str, inputs: int, outputs: int, monkeypatch: pytest.MonkeyPatch) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs, bias=False).requires_grad_(False)
    if kind == "float16":
        layer.weight.copy_(dequantize_rows(*quantize_rows(layer.weight)))
    elif kind != "packed float32":
        monkeypatch.setattr(module, "LARGEST_PACKED", 0)
    return layer.bfloat16() if kind == "bfloat16" else layer


@pytest.fixture(params=[1, 2], ids=["one thread", "two threads"])
def _threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@torch.inference_mode()
@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("inputs", "outputs"), SHAPES)
def test_a_row_has_the_same_bits_at_every_height_and_in_every_place(inputs, outputs, kind, monkeypatch):
    layer = layer_of(kind, inputs, outputs, monkeypatch)
    rows = torch.randn(64, 1, inputs, dtype=layer.weight.dtype)
    linears = PackedLinears()
    singly = torch.cat([linears(layer, row) for row in rows.split(1)])
    for height in ENGINE_HEIGHTS:
        for shift in (0, 1, 3):
            shifted = rows.roll(shift, 0)
            whole = torch.cat([linears(layer, block) for block in shifted.split(height)])
            assert torch.equal(whole, singly.roll(shift, 0)), (height, shift)


@torch.inference_mode()
@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("inputs", "outputs"), [*SHAPES, (1_024, 1_024)])
def test_a_row_has_the_same_bits_with_any_number_of_threads(inputs, outputs, kind, monkeypatch):
    """`generation/step_threads.py` changes the number of threads in the middle of a request."""
    layer = layer_of(kind, inputs, outputs, monkeypatch)
    linears = PackedLinears()
    for height in ENGINE_HEIGHTS[:-1]:
        rows = torch.randn(height, 1, inputs, dtype=layer.weight.dtype)
        torch.set_num_threads(1)
        expected = linears(layer, rows)
        for num_threads in (2, 3, 4):
            torch.set_num_threads(num_threads)
            assert torch.equal(linears(layer, rows), expected), (height, num_threads)


def test_batches_are_padded_to_heights_that_are_measured():
    measured = {*LOW_HEIGHTS, BASE_HEIGHT, *HIGH_HEIGHTS}
    padded = {num_rows: padded_rows(num_rows) for num_rows in range(1, 33)}
    assert all(num_rows <= height for num_rows, height in padded.items())
    assert set(padded.values()) == {FEWEST_ROWS, 4, 8, 16, 32} <= measured


def exact(rows: torch.Tensor) -> torch.Tensor:
    return rows * 3.0


def wrong_at(*heights: int):
    """A product that gives other bits at these heights."""
    return lambda rows: exact(rows) + 1e-3 * (len(rows) in heights)


def wrong_in_last_rows(num_rows: int, *heights: int):
    """A product whose last rows have other bits at these heights, as FBGEMM's on AVX2."""

    def product(rows: torch.Tensor) -> torch.Tensor:
        result = exact(rows).clone()
        if len(rows) in heights:
            result[-num_rows:] += 1e-3
        return result

    return product


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (exact, Heights(2, 32)),
        (wrong_at(1, 2, 7), Heights(3, 32)),
        (wrong_at(2, 3), Heights(4, 32)),
        (wrong_in_last_rows(2, 1, 2, 32), Heights(3, 16)),
        (wrong_at(16), Heights(2, 8)),
        (wrong_at(8, 16, 32), Heights(2, 4)),
        (wrong_in_last_rows(1, 4), Heights(1, 1)),
    ],
)
def test_only_heights_that_agree_are_used(product, expected):
    assert measure_heights(product, width=4) == expected


def test_heights_hold_for_one_thread_and_for_all():
    def product(rows: torch.Tensor) -> torch.Tensor:
        wrong = wrong_at(2, 16) if torch.get_num_threads() == 1 else wrong_in_last_rows(2, 3, 32)
        return wrong(rows)

    assert measure_heights(product, width=4, num_threads=2) == Heights(4, 8)
    assert measure_heights(wrong_in_last_rows(1, 4), width=4, num_threads=2) == Heights(1, 1)


@pytest.mark.parametrize("product", [wrong_at(1, 2, 7), wrong_in_last_rows(2, 1, 2, 32), wrong_in_last_rows(1, 4)])
def test_rows_are_padded_or_multiplied_in_blocks_so_that_they_agree(product):
    heights, rows = measure_heights(product, width=4), torch.randn(32, 1, 4)
    for height in (1, 2, 4, 8, 16, 32):
        assert torch.equal(heights.multiply(product, rows[:height]), exact(rows[:height]))


def test_the_product_is_that_of_the_weight():
    layer, rows = nn.Linear(256, 100, bias=False), torch.randn(33, 1, 256)
    with torch.no_grad():
        torch.testing.assert_close(PackedLinears()(layer, rows), F.linear(rows, layer.weight), rtol=1e-5, atol=1e-5)
