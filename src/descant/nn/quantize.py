"""Matrices as 8-bit integers with a scale per row: a quarter of the memory."""

import torch
from jaxtyping import Float, Int8
from torch import Tensor

LARGEST = 127


def quantize_rows(
    weight: Float[Tensor, "rows columns"], largest: int = LARGEST
) -> tuple[Int8[Tensor, "rows columns"], Float[Tensor, " rows"]]:
    """The nearest multiples, from -``largest`` to ``largest``, of a scale per row.

    Scales are rounded up to 12 bits. Integer times scale is then exact in float32, and the largest integer of a row
    stays the largest, so that quantising the result of ``dequantize_rows`` changes nothing.
    """
    mantissa, exponent = torch.frexp(weight.float().abs().amax(dim=1).clamp_min(1e-20) / largest)
    scale = torch.ldexp((mantissa * 4_096).ceil() / 4_096, exponent)
    return (weight.float() / scale[:, None]).round().to(torch.int8), scale


def dequantize_rows(
    numbers: Int8[Tensor, "rows columns"], scale: Float[Tensor, " rows"]
) -> Float[Tensor, "rows columns"]:
    """The float32 matrix that integers and scales stand for."""
    return numbers.float() * scale[:, None]
