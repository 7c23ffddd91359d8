"""Packed weights and their products: the packed numbers are the weight's, and a row's bits are its own."""

import numpy as np
import pytest
import torch
from llvmlite import ir
from torch import Tensor
from torch.nn import functional as F

from descant.compiled.code import Library, Target
from descant.generation.runtimes.native.packing import FORMATS, PackedWeight, exact_format, pack, padded, unpack
from descant.generation.runtimes.native.products import EPILOGUES, ProductWord, add_products
from descant.generation.runtimes.native.program import products_library
from descant.nn.quantize import dequantize_rows, quantize_rows

TARGETS = {
    "AVX2, Intel": Target("haswell"),
    "AVX2, AMD": Target("znver3"),
    "AVX-512": Target("skylake-avx512", num_vectors=16),
}
"""Older and newer processors than most that run this test."""

ERRORS = {"fp32": 0.0, "fp16": 3e-4, "bf16": 3e-3, "int8": 1e-2, "int4": 0.1}
"""The largest relative error of a normally distributed weight."""


def weight_of(num_outputs: int = 70, num_inputs: int = 96) -> Tensor:
    return torch.randn(num_outputs, num_inputs, generator=torch.Generator().manual_seed(0)) * 0.05


def multiply(library: Library, weight: PackedWeight, x: Tensor, epilogue: str = "store", gain: float = 1.0) -> Tensor:
    """The product of rows, in two tiles; what is added to is 2 everywhere."""
    x = F.pad(x, (0, padded(x.shape[1]) - x.shape[1])).contiguous()
    y = torch.full((len(x) + 1, padded(weight.num_outputs)), 2.0)
    words = np.zeros(len(ProductWord), np.int64)
    words[ProductWord.X], words[ProductWord.X_STRIDE] = x.data_ptr(), x.shape[1]
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


@pytest.mark.parametrize("format", FORMATS)
def test_a_packed_weight_is_the_weight_up_to_the_rounding_of_its_format(format):
    weight = weight_of()
    unpacked = unpack(pack(weight, format))
    assert unpacked.shape == weight.shape
    assert (unpacked - weight).norm() <= ERRORS[format] * weight.norm()
    assert torch.equal(unpack(pack(unpacked, format)), unpacked) or format == "int4"


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
        sums = F.linear(rows[:num_rows], unpack(weight))
        expected = {"store": sums, "gelu": F.gelu(sums), "add": 2 + 0.5 * sums}[epilogue]
        found = multiply(library, weight, rows[:num_rows], epilogue, gain=0.5)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


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
    rows = torch.randn(17, 96, generator=torch.Generator().manual_seed(1))
    alone = torch.cat([multiply(library, weight, row) for row in rows.split(1)])
    for num_rows in range(1, 18):
        assert torch.equal(multiply(library, weight, rows[:num_rows]), alone[:num_rows])
        assert torch.equal(multiply(library, weight, rows[-num_rows:]), alone[-num_rows:])


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize("format", FORMATS)
def test_all_processors_give_the_same_bits(format, target):
    host = Target.host()
    if target.num_vectors > host.num_vectors:
        pytest.skip("this processor has no AVX-512")
    module = ir.Module()
    add_products(module, format, target)
    weight, rows = pack(weight_of(), format), torch.randn(5, 96, generator=torch.Generator().manual_seed(1))
    for epilogue in EPILOGUES:
        expected = multiply(products_library(format, host), weight, rows, epilogue)
        assert torch.equal(multiply(Library(module, target), weight, rows, epilogue), expected)
