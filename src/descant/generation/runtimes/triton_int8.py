"""The product of a few rows with a matrix of 8-bit integers, as one Triton kernel that reads each integer once.

Imported only where Triton is installed.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Shaped
from torch import Tensor

ROW_BLOCK = 16
OUTPUT_BLOCK = 16
INPUT_BLOCK = 256
"""Small blocks of outputs, so that even a matrix of 1,024 outputs keeps 64 processors reading."""


def multiply(
    rows: Float[Tensor, "B I"], numbers: Shaped[Tensor, "O I"], scale: Float[Tensor, " O"]
) -> Float[Tensor, "B O"]:
    """``rows`` times the transpose of ``numbers``, times the scale of each output; sums are in float32.

    Args:
        numbers: 8-bit integers; or, to compare, the floats that a plain product has.
    """
    (num_rows, num_inputs), num_outputs = rows.shape, len(numbers)
    product = torch.empty(num_rows, num_outputs, dtype=rows.dtype, device=rows.device)
    grid = (triton.cdiv(num_outputs, OUTPUT_BLOCK), triton.cdiv(num_rows, ROW_BLOCK))
    multiply_kernel[grid](
        rows.contiguous(),
        numbers,
        scale,
        product,
        num_rows,
        num_inputs,
        num_outputs,
        ROW_BLOCK=ROW_BLOCK,
        OUTPUT_BLOCK=OUTPUT_BLOCK,
        INPUT_BLOCK=INPUT_BLOCK,
        num_warps=4,
        num_stages=4,
    )
    return product


@triton.jit  # type: ignore[untyped-decorator]
def multiply_kernel(  # type: ignore[no-untyped-def]  # Triton reads annotations as types of its own.
    rows_at,
    numbers_at,
    scale_at,
    product_at,
    num_rows,
    num_inputs: tl.constexpr,
    num_outputs: tl.constexpr,
    ROW_BLOCK: tl.constexpr,
    OUTPUT_BLOCK: tl.constexpr,
    INPUT_BLOCK: tl.constexpr,
):
    """One block of outputs for one block of rows."""
    output = tl.program_id(0) * OUTPUT_BLOCK + tl.arange(0, OUTPUT_BLOCK)
    row = tl.program_id(1) * ROW_BLOCK + tl.arange(0, ROW_BLOCK)
    sums = tl.zeros((ROW_BLOCK, OUTPUT_BLOCK), dtype=tl.float32)
    for start in range(0, num_inputs, INPUT_BLOCK):
        place = start + tl.arange(0, INPUT_BLOCK)
        is_row = (row[:, None] < num_rows) & (place[None, :] < num_inputs)
        values = tl.load(rows_at + row[:, None] * num_inputs + place[None, :], mask=is_row, other=0.0)
        is_number = (place[:, None] < num_inputs) & (output[None, :] < num_outputs)
        numbers = tl.load(numbers_at + output[None, :] * num_inputs + place[:, None], mask=is_number, other=0)
        sums = tl.dot(values, numbers.to(values.dtype), sums, input_precision="ieee")
    scale = tl.load(scale_at + output, mask=output < num_outputs, other=0.0)
    is_product = (row[:, None] < num_rows) & (output[None, :] < num_outputs)
    tl.store(
        product_at + row[:, None] * num_outputs + output[None, :],
        (sums * scale[None, :]).to(product_at.dtype.element_ty),
        mask=is_product,
    )
