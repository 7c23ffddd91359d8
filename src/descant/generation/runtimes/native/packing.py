"""Weights in the order in which they are multiplied, in one of six formats.

Weights in floats are multiplied with float32 activations, weights in int8, where that holds them exactly, with
activations in 16 bits: two consecutive inputs of an output lie side by side. Those that are rounded to int8 or int4 are
multiplied with activations in int8: ``w8a8`` and ``w4a8``, with four inputs side by side.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float, Int8, Shaped, UInt8
from torch import Tensor
from torch.nn import functional as F

from descant.devices import WeightFormat
from descant.nn.quantize import dequantize_rows, quantize_rows

PackedFormat: TypeAlias = Literal["fp32", "fp16", "bf16", "int8", "w8a8", "w4a8"]
FORMATS: tuple[PackedFormat, ...] = ("fp32", "fp16", "bf16", "int8", "w8a8", "w4a8")

Rounding: TypeAlias = WeightFormat | Literal["fp32"]
"""What a caller asks for."""

ROUNDED: dict[Rounding, PackedFormat] = {
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "int8": "w8a8",
    "int4": "w4a8",
}
"""The packed format of matrices that are rounded to a format."""

ZEROS: dict[PackedFormat, int] = {"w8a8": 128, "w4a8": 8}
"""Formats that are multiplied with int8, and the unsigned number that stands for zero."""

INTEGERS: tuple[PackedFormat, ...] = ("int8", *ZEROS)
"""Formats that are multiplied with rounded activations."""

PANEL = 32
"""Outputs that are multiplied together."""

GROUP = 32
"""Inputs that share a scale, of activations in int8 and of weights in int4."""

GROUP_SCALES_BYTES: dict[PackedFormat, int] = {"w8a8": 0, "w4a8": 2 * PANEL}
"""What a group of a panel begins with: a scale of two bytes for each output in int4."""

GROUP_WEIGHTS_BYTES: dict[PackedFormat, int] = {"w8a8": GROUP * PANEL, "w4a8": GROUP * PANEL // 2}

HAS_SCALES: tuple[PackedFormat, ...] = ("int8", "w8a8")
"""Formats with one scale for each output."""

TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class PackedWeight:
    """A weight of O outputs and I inputs, both padded with zeros to multiples of 32.

    Args:
        panels: bytes [panels, bytes of a panel].
        scales: of each output, for formats that have them.
        change: two weights ``down`` and ``up``; what an input gives through both is added to the output.
    """

    format: PackedFormat
    num_inputs: int
    num_outputs: int
    panels: Tensor
    scales: Float[Tensor, " O"] | None = None
    change: "tuple[PackedWeight, PackedWeight] | None" = None

    @property
    def num_bytes(self) -> int:
        """Bytes that a product reads."""
        own = self.panels.numel() + (0 if self.scales is None else 4 * self.scales.numel())
        return own + sum(part.num_bytes for part in self.change or ())


def padded(number: int) -> int:
    """The next multiple of 32."""
    return -number % PANEL + number


def group_bytes(format: PackedFormat) -> int:
    """Bytes of a group of a panel, of a format that is multiplied with int8."""
    return GROUP_SCALES_BYTES[format] + GROUP_WEIGHTS_BYTES[format]


def pack(weight: Float[Tensor, "O I"], format: PackedFormat) -> PackedWeight:
    """The weight in a format, rounded to the nearest that it can hold."""
    num_outputs, num_inputs = weight.shape
    whole = F.pad(weight.detach(), (0, padded(num_inputs) - num_inputs, 0, padded(num_outputs) - num_outputs))
    scales = None
    if format == "w4a8":
        panels = _pack_int4(whole.float())
    elif format in HAS_SCALES:
        quantized, scales = quantize_rows(whole)
        panels = _by_pair(quantized) if format == "int8" else _by_quad((quantized.short() + 128).to(torch.uint8))
    else:
        panels = _by_input(whole.to(TYPES[format]))
    return PackedWeight(format, num_inputs, num_outputs, panels.contiguous().view(torch.uint8).flatten(1), scales)


def _by_input(weight: Shaped[Tensor, "O I"]) -> Shaped[Tensor, "panels I outputs"]:
    return rearrange(weight, "(panels outputs) I -> panels I outputs", outputs=PANEL)


def _by_pair(weight: Int8[Tensor, "O I"]) -> Int8[Tensor, "panels pairs outputs_pair"]:
    """Two inputs of an output side by side."""
    return rearrange(weight, "(panels outputs) (pairs pair) -> panels pairs (outputs pair)", outputs=PANEL, pair=2)


def _by_quad(weight: UInt8[Tensor, "O I"]) -> UInt8[Tensor, "panels groups quads outputs_quad"]:
    """Four inputs of an output side by side."""
    return rearrange(
        weight,
        "(panels outputs) (groups quads quad) -> panels groups quads (outputs quad)",
        outputs=PANEL,
        quads=GROUP // 4,
        quad=4,
    )


def _by_output(panels: UInt8[Tensor, "panels groups quads outputs_quad"]) -> UInt8[Tensor, "O I"]:
    """What `_by_quad` rearranged."""
    return rearrange(
        panels, "panels groups quads (outputs quad) -> (panels outputs) (groups quads quad)", outputs=PANEL
    )


def exact_format(weight: Float[Tensor, "O I"]) -> PackedFormat:
    """The smallest format that holds the weight as it is: int8 where it was stored in int8, fp16 where it was stored in
    float16."""
    if weight.dtype == torch.bfloat16:
        return "bf16"
    if weight.dtype == torch.float16:
        return "fp16"
    if _is_int8(weight[:4]) and _is_int8(weight):
        return "int8"
    return "fp16" if torch.equal(weight.half().float(), weight) else "fp32"


def _is_int8(weight: Float[Tensor, "O I"]) -> bool:
    return torch.equal(dequantize_rows(*quantize_rows(weight)), weight.float())


def _pack_int4(weight: Float[Tensor, "O I"]) -> UInt8[Tensor, "panels groups bytes"]:
    """Numbers from -8 to 7 times a scale for each output and group of inputs; the largest weight of a group becomes -8,
    the end that reaches further. Searching for the scale of the least squared error gains 3 % of the error only."""
    groups = weight.unflatten(1, (-1, GROUP))
    lowest, highest = groups.amin(dim=2, keepdim=True), groups.amax(dim=2, keepdim=True)
    scale = (torch.where(-lowest > highest, lowest, highest) / -8).half()
    divisor = scale.float().where(scale != 0, torch.ones(()))
    numbers = _by_quad(((groups / divisor).round_().clamp_(-8, 7) + 8).to(torch.uint8).flatten(1))
    pairs = numbers[:, :, 0::2] | (numbers[:, :, 1::2] << 4)
    scales = rearrange(scale, "(panels outputs) groups 1 -> panels groups outputs", outputs=PANEL)
    return torch.cat([scales.contiguous().view(torch.uint8), pairs.flatten(2)], dim=2)


def unpack(packed: PackedWeight) -> Float[Tensor, "O I"]:
    """The float32 weight that is multiplied."""
    data, format = packed.panels, packed.format
    if format == "w4a8":
        groups = data.unflatten(1, (-1, group_bytes(format)))
        scales = groups[:, :, : GROUP_SCALES_BYTES[format]].contiguous().view(torch.float16).float()
        pairs = groups[:, :, GROUP_SCALES_BYTES[format] :].unflatten(2, (-1, 4 * PANEL))
        integers = _by_output(torch.stack([pairs & 15, pairs >> 4], dim=3).flatten(2, 3)).float() - 8
        of_inputs = rearrange(scales, "panels groups outputs -> (panels outputs) groups")
        rows = integers * of_inputs.repeat_interleave(GROUP, dim=1)
    elif format == "int8":
        pairs = data.view(torch.int8)
        rows = rearrange(
            pairs, "panels (pairs outputs pair) -> (panels outputs) (pairs pair)", outputs=PANEL, pair=2
        ).float()
    elif format == "w8a8":
        rows = _by_output(data.unflatten(1, (-1, GROUP // 4, 4 * PANEL))).float() - 128
    else:
        panels = data.view(TYPES[format]).float()
        rows = rearrange(panels, "panels (I outputs) -> (panels outputs) I", outputs=PANEL)
    if packed.scales is not None:
        rows = rows * packed.scales[:, None]
    return rows[: packed.num_outputs, : packed.num_inputs]


def address_of(tensor: Tensor | np.ndarray) -> int:
    """Where the data of a tensor or array is in memory."""
    return int(tensor.data_ptr() if isinstance(tensor, Tensor) else tensor.ctypes.data)
