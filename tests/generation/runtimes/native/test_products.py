"""Packed weights and their products: the packed numbers are the weight's, and a row's bits are its own."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from descant.compiled.code import Target
from descant.compiled.library import Library
from descant.generation.runtimes.native.integers import QuantizeWord, quantized_words
from descant.generation.runtimes.native.packing import (
    FORMATS,
    INTEGERS,
    PackedFormat,
    PackedWeight,
    exact_format,
    pack,
    padded,
    unpack,
)
from descant.generation.runtimes.native.products import EPILOGUES, ProductWord
from descant.generation.runtimes.native.program import products_library
from descant.generation.runtimes.native.shorts import short_words
from descant.nn.quantize import dequantize_rows, quantize_rows
from tests.processors import each_target

ERRORS = {"fp32": 0.0, "fp16": 3e-4, "bf16": 3e-3, "int8": 1e-2, "w8a8": 1e-2, "w4a8": 0.1}
"""The largest relative error of a normally distributed weight."""


def weight_of(num_outputs: int = 70, num_inputs: int = 96) -> Tensor:
    return torch.randn(num_outputs, num_inputs, generator=torch.Generator().manual_seed(0)) * 0.05


def quantized(library: Library, x: Tensor, format: PackedFormat) -> Tensor:
    """The words of rounded rows."""
    num_words = short_words if format == "int8" else quantized_words
    y = torch.zeros(len(x), num_words(x.shape[1]), dtype=torch.int32)
    words = np.zeros(len(QuantizeWord), np.int64)
    words[QuantizeWord.X], words[QuantizeWord.X_STRIDE] = x.data_ptr(), x.shape[1]
    words[QuantizeWord.Y], words[QuantizeWord.Y_STRIDE] = y.data_ptr(), y.shape[1]
    words[QuantizeWord.NUM_INPUTS] = x.shape[1]
    function = library.function("quantize", 3)
    for token in range(len(x)):
        function(words.ctypes.data, 0, token)
    return y


def multiply(library: Library, weight: PackedWeight, x: Tensor, epilogue: str = "store", gain: float = 1.0) -> Tensor:
    """The product of rows, in two tiles; what is added to is 2 everywhere."""
    x = F.pad(x, (0, padded(x.shape[1]) - x.shape[1])).contiguous()
    inputs = quantized(library, x, weight.format) if weight.format in INTEGERS else x
    y = torch.full((len(x) + 1, padded(weight.num_outputs)), 2.0)
    words = np.zeros(len(ProductWord), np.int64)
    words[ProductWord.X], words[ProductWord.X_STRIDE] = inputs.data_ptr(), inputs.shape[1]
    words[ProductWord.Y], words[ProductWord.Y_STRIDE] = y.data_ptr(), y.shape[1]
    words[ProductWord.WEIGHT] = weight.panels.data_ptr()
    words[ProductWord.SCALES] = 0 if weight.scales is None else weight.scales.data_ptr()
    words[ProductWord.NUM_INPUTS], words[ProductWord.NUM_PANELS] = x.shape[1], len(weight.panels)
    words[ProductWord.PANELS_PER_TILE], words[ProductWord.PANEL_BYTES] = 2, weight.panels.shape[1]
    words[ProductWord.GAIN] = int(np.float32(gain).view(np.int32))
    state = np.array([len(x)], np.int64)
    function = library.function(f"product_{weight.format}_{epilogue}", 3)
    for tile in range(-(-len(weight.panels) // 2)):
        function(words.ctypes.data, state.ctypes.data, tile)
    assert torch.equal(y[-1], torch.full_like(y[-1], 2.0))
    return y[:-1, : weight.num_outputs]


ROUNDED = {"int8": (256, 32_767), "w8a8": (32, 127), "w4a8": (32, 127)}
"""How many activations share a scale, and the largest whole number."""


def rounded(x: Tensor, format: PackedFormat) -> tuple[Tensor, Tensor]:
    """Rows [B G size] as whole numbers and a scale [B G 1] for each group."""
    size, most = ROUNDED[format]
    groups = F.pad(x, (0, -x.shape[1] % size)).unflatten(1, (-1, size))
    largest = groups.abs().amax(dim=2, keepdim=True).clamp(min=1e-30)
    return (groups.double() * (torch.full_like(largest, most) / largest)).round().float(), largest * torch.tensor(
        1 / most
    )


def exact_product(x: Tensor, weight: PackedWeight) -> Tensor:
    """The product of rounded rows with an integer weight: whole sums of each group, added in float32, group after
    group. The largest weight of a group in int4 is -8 or 7 times its scale."""
    numbers, scales = rounded(x, weight.format)
    size = numbers.shape[2]
    whole = F.pad(unpack(weight), (0, -weight.num_inputs % size)).double().unflatten(1, (-1, size))
    if weight.format != "w4a8":
        assert weight.scales is not None
        of_weights = weight.scales[: weight.num_outputs, None].double().expand(whole.shape[:2])
        factors = scales[:, None, :, 0].expand(-1, len(whole), -1)
    else:
        panels = weight.panels.unflatten(1, (whole.shape[1], -1))[:, :, :64].contiguous().view(torch.float16)
        of_weights = panels.transpose(1, 2).flatten(0, 1)[: weight.num_outputs].double()
        factors = of_weights.float() * scales[:, None, :, 0]
    integers = (whole / of_weights.where(of_weights != 0, torch.ones(()).double())[:, :, None]).round()
    sums = torch.einsum("bgi,ogi->bog", numbers.double(), integers)
    total = torch.zeros(len(x), len(whole))
    for group in range(whole.shape[1]):
        # float64 holds the product of two float32 numbers exactly, so this is a fused multiply-add.
        total = (sums[:, :, group].float().double() * factors[:, :, group].double() + total).float()
    return total if weight.format == "w4a8" else total * of_weights[:, 0].float()


@pytest.mark.parametrize("format", FORMATS)
def test_a_packed_weight_is_the_weight_up_to_the_rounding_of_its_format(format):
    weight = weight_of()
    unpacked = unpack(pack(weight, format))
    assert unpacked.shape == weight.shape
    assert (unpacked - weight).norm() <= ERRORS[format] * weight.norm()
    assert torch.equal(unpack(pack(unpacked, format)), unpacked) or format == "w4a8"


def test_zero_weights_stay_zero():
    for format in FORMATS:
        assert not unpack(pack(torch.zeros(3, 5), format)).any()


def test_a_weight_is_kept_in_the_smallest_format_that_holds_it_exactly():
    weight = weight_of()
    stored = {
        "int8": dequantize_rows(*quantize_rows(weight)),
        "fp16": weight.half().float(),
        "fp32": weight,
        "bf16": weight.bfloat16(),
    }
    for format, held in stored.items():
        assert exact_format(held) == format
        assert torch.equal(unpack(pack(held, exact_format(held))), held.float())


@pytest.mark.parametrize("epilogue", EPILOGUES)
@pytest.mark.parametrize("format", FORMATS)
def test_products_are_those_of_the_unpacked_weight(format, epilogue):
    weight = pack(weight_of(), format)
    rows = torch.randn(13, 96, generator=torch.Generator().manual_seed(1))
    library = products_library(format, Target.host())
    for num_rows in (1, 2, 3, 4, 7, 8, 13):
        inputs = rows[:num_rows]
        if format in INTEGERS:
            numbers, scales = rounded(inputs, format)
            inputs = (numbers * scales).flatten(1)[:, :96]
        sums = F.linear(inputs, unpack(weight))
        added = 2 + 0.5 * sums
        expected = {"store": sums, "gelu": F.gelu(sums), "add": added, "add_gelu": F.gelu(added)}[epilogue]
        found = multiply(library, weight, rows[:num_rows], epilogue, gain=0.5)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_inputs", [5, 32, 50, 96, 1_000])
@pytest.mark.parametrize("format", INTEGERS)
def test_integer_products_are_exact_integers_added_group_after_group(format, num_inputs):
    weight = pack(weight_of(num_inputs=num_inputs), format)
    rows = torch.randn(9, num_inputs, generator=torch.Generator().manual_seed(1)) * torch.logspace(-9, 9, 9)[:, None]
    found = multiply(products_library(format, Target.host()), weight, rows)
    assert torch.equal(found, exact_product(rows, weight))


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize("format", INTEGERS)
def test_the_largest_integers_do_not_overflow(format, target):
    # More inputs than share a scale. The largest number that a byte or half of it can hold, 7 or 127, and one that
    # makes 8 the unit of int4.
    weight = torch.full((32, 320), 7.0)
    weight[:, ::32] = -8.0 if format == "w4a8" else 7.0
    rows = torch.full((3, 320), 2.0) * torch.tensor([1.0, -1.0, 0.0])[:, None]
    packed = pack(weight, format)
    assert torch.equal(multiply(products_library(format, target), packed, rows), exact_product(rows, packed))


@pytest.mark.parametrize("format", INTEGERS)
def test_activations_that_are_not_finite_give_nan_and_leave_other_rows_alone(format):
    weight = pack(weight_of(), format)
    rows = torch.randn(4, 96, generator=torch.Generator().manual_seed(1))
    expected = multiply(products_library(format, Target.host()), weight, rows)
    rows[1, 40], rows[2, 41] = torch.nan, torch.inf
    found = multiply(products_library(format, Target.host()), weight, rows)
    assert found[1:3].isnan().all()
    assert torch.equal(found[[0, 3]], expected[[0, 3]])


def test_gelu_is_exact_over_its_whole_range():
    values = torch.cat([torch.linspace(-14, 14, 4_001), torch.tensor([0.0, 1e-20, -1e-20, 80.0, -80.0])])
    identity = pack(torch.ones(1, 1), "fp32")
    found = multiply(products_library("fp32", Target.host()), identity, values[:, None], "gelu")[:, 0]
    expected = F.gelu(values.double())
    error = (found.double() - expected).abs() / expected.abs().clamp(min=1e-3)
    assert error.max() < 2e-6
    assert torch.isnan(multiply(products_library("fp32", Target.host()), identity, torch.tensor([[torch.nan]]), "gelu"))


@pytest.mark.parametrize("format", FORMATS)
def test_a_row_has_the_same_bits_alone_and_in_any_batch(format):
    weight, library = pack(weight_of(), format), products_library(format, Target.host())
    rows = torch.randn(33, 96, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([multiply(library, weight, row) for row in rows.split(1)])
    for num_rows in range(1, 34):
        assert torch.equal(multiply(library, weight, rows[:num_rows]), alone[:num_rows])
        assert torch.equal(multiply(library, weight, rows[-num_rows:]), alone[-num_rows:])


@pytest.mark.parametrize("target", each_target())
@pytest.mark.parametrize("format", FORMATS)
def test_all_processors_give_the_same_bits(format, target):
    library = products_library(format, target)
    weight, rows = pack(weight_of(), format), torch.randn(15, 96, generator=torch.Generator().manual_seed(1))
    for epilogue in EPILOGUES:
        expected = multiply(products_library(format, Target.host()), weight, rows, epilogue)
        assert torch.equal(multiply(library, weight, rows, epilogue), expected)
