"""Products with weights in decoding: a few rows at a time, the same weights at every step."""

import platform
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant.nn.batch_invariance import Heights, Product, measure_heights
from descant.nn.quantize import dequantize_rows, quantize_rows

LARGEST_PACKED = 2**20
"""Weights with this many elements or more are not packed: copying a large model takes too long and too much memory."""

_HEIGHTS: dict[tuple[Any, ...], Heights] = {}
"""What was measured in this process, by kind of product, shape, precision and number of threads."""


class StepProducts:
    """Products of decoding steps with weights that do not change meanwhile: made for one request, thrown away after it.

    On a CPU each row has the same bits whatever other rows are in the batch (`batch_invariance.py`). In float32 a copy
    of the weight in another order is multiplied, made at first use by ``pack``, in half the time of ``F.linear`` or
    less. A sequence of several steps is multiplied one row of the batch at a time. Other devices, and products with
    gradients, go through the layer itself.
    """

    def __init__(self) -> None:
        self._products: dict[tuple[int, int | None], tuple[Product, Heights]] = {}

    def __call__(
        self, layer: nn.Module, rows: Float[Tensor, "B S i"], num_outputs: int | None = None
    ) -> Float[Tensor, "B S o"]:
        """The layer's product, of its first ``num_outputs`` outputs if that is given."""
        if rows.device.type != "cpu" or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return linear(layer, rows, num_outputs)
        if rows.shape[1] != 1:
            return torch.cat([linear(layer, row, num_outputs) for row in rows.split(1)])
        key = (id(layer), num_outputs)
        if key not in self._products:
            self._products[key] = _step_product(layer, rows, num_outputs)
        product, heights = self._products[key]
        return heights.multiply(product, rows)


def _step_product(layer: nn.Module, rows: Float[Tensor, "B 1 i"], num_outputs: int | None) -> tuple[Product, Heights]:
    """How single steps are multiplied with a layer's weight, and at which heights."""
    kind = f"{type(layer).__qualname__}, bias {getattr(layer, 'bias', None) is not None}"
    product: Product = partial(linear, layer, num_outputs=num_outputs)
    if isinstance(layer, nn.Linear) and _may_pack(layer, rows, num_outputs):
        kind, product = pack(layer.weight[:num_outputs].detach())
    num_inputs, num_threads = rows.shape[-1], torch.get_num_threads()
    key = (kind, num_inputs, product(rows).shape[-1], rows.dtype, num_threads)
    if key not in _HEIGHTS:
        _HEIGHTS[key] = measure_heights(product, num_inputs, rows.dtype, num_threads)
    return product, _HEIGHTS[key]


def pack(weight: Float[Tensor, "o i"]) -> tuple[str, Product]:
    """The kind of product that suits a weight, and the product.

    A weight whose rows are whole numbers up to 127 times a scale, as a model stored in int8 has them, is kept as those
    numbers in float16, which holds them exactly, and multiplied in float32: half the memory to read. 2 rows through
    1,024 x 256 take 18 us on one thread, against 79 for oneDNN's product of float32, which all other weights have, and
    193 for ``F.linear``.
    """
    if can_multiply_halves() and _is_int8(weight[:4]) and _is_int8(weight):
        numbers, scales = quantize_rows(weight)
        halves = torch.ops.quantized.linear_prepack_fp16(numbers.float(), None)
        return "float16", lambda rows: torch.ops.quantized.linear_dynamic_fp16(rows, halves) * scales
    reordered = torch.ops.mkldnn._reorder_linear_weight(weight)
    return "packed float32", lambda rows: torch.ops.mkldnn._linear_pointwise(rows, reordered, None, "none", [], "")


def _is_int8(weight: Float[Tensor, "o i"]) -> bool:
    return torch.equal(dequantize_rows(*quantize_rows(weight)), weight)


def linear(layer: nn.Module, rows: Float[Tensor, "B S i"], num_outputs: int | None = None) -> Float[Tensor, "B S o"]:
    """The layer's product as torch makes it, of its first ``num_outputs`` outputs if that is given."""
    if num_outputs is None:
        product: Tensor = layer(rows)
        return product
    return F.linear(rows, layer.get_parameter("weight")[:num_outputs])


def _may_pack(layer: nn.Linear, rows: Tensor, num_outputs: int | None) -> bool:
    return (
        can_pack()
        and type(layer) is nn.Linear
        and layer.bias is None
        and rows.dtype == layer.weight.dtype == torch.float32
        and layer.in_features * (num_outputs or layer.out_features) < LARGEST_PACKED
    )


@cache
def can_multiply_halves() -> bool:
    """Whether this torch has FBGEMM's product of float32 rows with a float16 weight."""
    operators = ("linear_prepack_fp16", "linear_dynamic_fp16")
    return torch.backends.quantized.engine in ("x86", "fbgemm") and all(
        hasattr(torch.ops.quantized, operator) for operator in operators
    )


@cache
def can_pack() -> bool:
    """Whether this torch has oneDNN's products, which it does not document, on a processor they were measured on."""
    operators = ("_reorder_linear_weight", "_linear_pointwise")
    return (
        platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and all(hasattr(torch.ops.mkldnn, operator) for operator in operators)
    )
