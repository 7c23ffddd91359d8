"""Weights in the order in which they are multiplied, in one of five formats."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant.devices import WeightFormat
from descant.nn.quantize import dequantize_rows, quantize_rows

PackedFormat: TypeAlias = WeightFormat | Literal["fp32"]
FORMATS: tuple[PackedFormat, ...] = ("fp32", "fp16", "bf16", "int8", "int4")

PANEL = 32
"""Outputs that are multiplied together."""

GROUP = 32
"""Inputs that share a scale in int4."""

GROUP_BYTES = 2 * PANEL + GROUP // 2 * PANEL
"""A scale of two bytes for each output, then half a byte for each weight."""

HAS_SCALES: tuple[PackedFormat, ...] = ("int8",)
"""Formats with one scale for each output."""

TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class PackedWeight:
    """A weight of O outputs and I inputs, both padded with zeros to multiples of 32.

    Args:
        panels: bytes [panels, bytes of a panel].
        scales: of each output, for formats that have them.
    """

    format: PackedFormat
    num_inputs: int
    num_outputs: int
    panels: Tensor
    scales: Float[Tensor, " O"] | None = None

    @property
    def num_bytes(self) -> int:
        """Bytes that a product reads."""
        return self.panels.numel() + (0 if self.scales is None else 4 * self.scales.numel())


def padded(number: int) -> int:
    """The next multiple of 32."""
    return -number % PANEL + number


def pack(weight: Float[Tensor, "O I"], format: PackedFormat) -> PackedWeight:
    """The weight in a format; int8 and int4 round to the nearest that they can hold."""
    num_outputs, num_inputs = weight.shape
    whole = F.pad(weight.detach(), (0, padded(num_inputs) - num_inputs, 0, padded(num_outputs) - num_outputs))
    panels = whole.unflatten(0, (-1, PANEL)).transpose(1, 2)
    if format == "int4":
        packed = _pack_int4(panels.float())
        return PackedWeight(format, num_inputs, num_outputs, packed)
    scales = None
    if format == "int8":
        quantized, scales = quantize_rows(whole)
        panels = quantized.unflatten(0, (-1, PANEL)).transpose(1, 2)
    else:
        panels = panels.to(TYPES[format])
    return PackedWeight(format, num_inputs, num_outputs, panels.contiguous().view(torch.uint8).flatten(1), scales)


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


def _pack_int4(panels: Float[Tensor, "panels I outputs"]) -> Tensor:
    """Numbers from -8 to 7 times a scale for each output and group of inputs; the largest weight of a group becomes -8,
    the end that reaches further. Searching for the scale of the least squared error gains 3 % of the error only."""
    groups = panels.unflatten(1, (-1, GROUP))
    lowest, highest = groups.amin(dim=2, keepdim=True), groups.amax(dim=2, keepdim=True)
    scale = (torch.where(-lowest > highest, lowest, highest) / -8).half()
    divisor = scale.float().where(scale != 0, torch.ones(()))
    codes = ((groups / divisor).round_().clamp_(-8, 7) + 8).to(torch.uint8)
    pairs = codes[:, :, 0::2] | (codes[:, :, 1::2] << 4)
    return torch.cat([scale.contiguous().view(torch.uint8).flatten(2), pairs.flatten(2)], dim=2).flatten(1).contiguous()


def unpack(packed: PackedWeight) -> Float[Tensor, "O I"]:
    """The float32 weight that is multiplied."""
    num_inputs, data = padded(packed.num_inputs), packed.panels
    if packed.format == "int4":
        groups = data.view(len(data), -1, GROUP_BYTES)
        scales = groups[:, :, : 2 * PANEL].contiguous().view(torch.float16).float()
        pairs = groups[:, :, 2 * PANEL :].unflatten(2, (-1, PANEL))
        numbers = torch.stack([pairs & 15, pairs >> 4], dim=3).flatten(2, 3).float() - 8
        panels = (numbers * scales[:, :, None]).flatten(1, 2)
    elif packed.format == "int8":
        panels = data.view(torch.int8).view(len(data), num_inputs, PANEL).float()
    else:
        panels = data.view(TYPES[packed.format]).view(len(data), num_inputs, PANEL).float()
    rows = panels.transpose(1, 2).flatten(0, 1)
    if packed.scales is not None:
        rows = rows * packed.scales[:, None]
    return rows[: packed.num_outputs, : packed.num_inputs]


def address_of(tensor: Tensor | np.ndarray) -> int:
    """Where the data of a tensor or array is in memory."""
    return int(tensor.data_ptr() if isinstance(tensor, Tensor) else tensor.ctypes.data)
