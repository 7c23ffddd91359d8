"""Matrix products of decoding steps on a CPU: a few rows at a time, the same weights at every step."""

import platform
from functools import cache, partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant.generation.batch_invariance import Heights, Product, measure_heights
from descant.nn.quantize import dequantize_rows, quantize_rows

LARGEST_PACKED = 2**20
"""Weights with this many elements or more are not packed: copying a large model takes too long and too much memory."""

_HEIGHTS: dict[tuple[Any, ...], Heights] = {}
"""The heights measured in this process, by kind of product, shape, precision and number of threads."""


class PackedLinears:
    """The products of a model's linear layers, for as long as its weights stay the same.

    Each row has the same bits whatever other rows are in the batch (`batch_invariance.py`). In float32 a copy of the
    weight in another order is multiplied, made at first use by ``pack``, in half the time of ``F.linear`` or less.
    Products of half precisions, of large weights and of layers that are not plain ones are the layer's own.
    """

    def __init__(self) -> None:
        self.num_threads = torch.get_num_threads()
        self._products: dict[tuple[nn.Module, int | None, torch.dtype], tuple[Product, Heights]] = {}
        self._checksums: dict[nn.Linear, int] = {}

    def __call__(
        self, layer: nn.Module, rows: Float[Tensor, "B 1 I"], num_outputs: int | None = None
    ) -> Float[Tensor, "B 1 O"]:
        """The layer's product, of its first ``num_outputs`` outputs if that is given."""
        key = (layer, num_outputs, rows.dtype)
        if key not in self._products:
            self._products[key] = self._product(layer, rows, num_outputs)
        product, heights = self._products[key]
        return heights.multiply(product, rows)

    def is_current(self) -> bool:
        """Whether the packed weights are still those of their layers, and the heights those of the number of threads.

        The weights are summed to know it: a fused optimiser leaves no trace on the tensors that it updates.
        """
        packed = tuple(self._checksums.items())  # another thread may pack more meanwhile
        return self.num_threads == torch.get_num_threads() and all(
            layer.weight.dtype == torch.float32 and checksum(layer.weight) == expected for layer, expected in packed
        )

    def _product(
        self, layer: nn.Module, rows: Float[Tensor, "B 1 I"], num_outputs: int | None
    ) -> tuple[Product, Heights]:
        kind = f"{type(layer).__qualname__}, bias {getattr(layer, 'bias', None) is not None}"
        product: Product = partial(linear, layer, num_outputs=num_outputs)
        if isinstance(layer, nn.Linear) and _may_pack(layer, rows, num_outputs):
            self._checksums[layer] = checksum(layer.weight)
            kind, product = pack(layer.weight[:num_outputs].detach())
        num_inputs = rows.shape[-1]
        key = (kind, num_inputs, product(rows).shape[-1], rows.dtype, self.num_threads)
        if key not in _HEIGHTS:
            _HEIGHTS[key] = measure_heights(product, num_inputs, rows.dtype, self.num_threads)
        return product, _HEIGHTS[key]


def pack(weight: Float[Tensor, "O I"]) -> tuple[str, Product]:
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


def checksum(weight: Float[Tensor, "O I"]) -> int:
    """The sum of a float32 weight's bits, read as whole numbers."""
    return int(weight.detach().view(torch.int32).sum())


def linear(layer: nn.Module, rows: Float[Tensor, "B S I"], num_outputs: int | None = None) -> Float[Tensor, "B S O"]:
    """The layer's own product, of its first ``num_outputs`` outputs if that is given."""
    if num_outputs is None:
        product: Tensor = layer(rows)
        return product
    return F.linear(rows, layer.get_parameter("weight")[:num_outputs])


def _is_int8(weight: Float[Tensor, "O I"]) -> bool:
    return torch.equal(dequantize_rows(*quantize_rows(weight)), weight)


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
