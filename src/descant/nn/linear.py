"""Products with weights in decoding: a few rows at a time, the same weights at every step."""

import platform
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant.nn.quantize import dequantize_rows, quantize_rows

Product: TypeAlias = Callable[[Tensor], Tensor]
"""Of the rows [B 1 i] of a step with a weight: [B 1 o]."""

LARGEST_PACKED = 2**20
"""Weights of so many elements and more are not packed: to copy a large model takes too long and too much room."""


class StepProducts:
    """Products of single steps with weights that do not change meanwhile: made for one request, thrown away after it.

    On a CPU in float32 a copy of the weight in another order is multiplied, made at first use by ``pack``. That takes
    half the time of ``F.linear`` and less, and a row has the same bits whatever stands beside it. Longer sequences,
    other devices and precisions, and layers that are no plain ``nn.Linear`` go the usual way.
    """

    def __init__(self) -> None:
        self._packed: dict[tuple[int, int], Product] = {}

    def __call__(
        self, layer: nn.Module, rows: Float[Tensor, "B S i"], num_outputs: int | None = None
    ) -> Float[Tensor, "B S o"]:
        """The layer's product, of its first ``num_outputs`` outputs if that is given."""
        if rows.shape[1] != 1 or type(layer) is not nn.Linear or not _may_pack(layer, rows, num_outputs):
            return linear(layer, rows, num_outputs)
        count = num_outputs or layer.out_features
        key = (id(layer), count)
        if key not in self._packed:
            self._packed[key] = pack(layer.weight[:count].detach())
        return self._packed[key](rows)


def pack(weight: Float[Tensor, "o i"]) -> Product:
    """How rows are multiplied with a weight that stays.

    A weight whose rows are whole numbers up to 127 times a scale, as a model stored in int8 has them, is kept as those
    numbers in float16, which holds them exactly, and multiplied in float32: half the memory to read. 2 rows through
    1,024 x 256 take 18 us on one thread, against 79 for oneDNN's product of float32, which all other weights have, and
    193 for ``F.linear``.
    """
    if can_multiply_halves() and _is_int8(weight[:4]) and _is_int8(weight):
        numbers, scales = quantize_rows(weight)
        halves = torch.ops.quantized.linear_prepack_fp16(numbers.float(), None)
        return lambda rows: torch.ops.quantized.linear_dynamic_fp16(rows, halves) * scales
    reordered = torch.ops.mkldnn._reorder_linear_weight(weight)
    return lambda rows: torch.ops.mkldnn._linear_pointwise(rows, reordered, None, "none", [], "")


def _is_int8(weight: Float[Tensor, "o i"]) -> bool:
    return torch.equal(dequantize_rows(*quantize_rows(weight)), weight)


def linear(layer: nn.Module, rows: Float[Tensor, "B S i"], num_outputs: int | None = None) -> Float[Tensor, "B S o"]:
    """The layer's product as torch makes it, of its first ``num_outputs`` outputs if that is given."""
    if num_outputs is None:
        product: Tensor = layer(rows)
        return product
    return F.linear(rows, layer.get_parameter("weight")[:num_outputs])


def is_packed(module: nn.Module) -> bool:
    """Whether ``StepProducts`` packs every linear layer of a module."""
    layers = [part for part in module.modules() if isinstance(part, nn.Linear)]
    return all(type(layer) is nn.Linear and _fits(layer, layer.out_features) for layer in layers)


def _may_pack(layer: nn.Linear, rows: Tensor, num_outputs: int | None) -> bool:
    return (
        _fits(layer, num_outputs or layer.out_features)
        and rows.device.type == "cpu"
        and rows.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def _fits(layer: nn.Linear, num_outputs: int) -> bool:
    return (
        can_pack()
        and layer.bias is None
        and layer.weight.device.type == "cpu"
        and layer.weight.dtype == torch.float32
        and layer.in_features * num_outputs < LARGEST_PACKED
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
