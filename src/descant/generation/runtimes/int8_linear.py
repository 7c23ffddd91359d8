"""Linear layers with weights in 8-bit integers: half the memory of float16, and half as much to read at a step.

Only the weights are rounded. They are multiplied as whole numbers in the precision of the hidden states, with float32
sums, and the scale of each output is applied to its sum.
"""

from functools import cache
from importlib.util import find_spec

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn
from torch.nn import functional as F

from descant.lm.model import MusicLM
from descant.nn.quantize import dequantize_rows, quantize_rows

MOST_KERNEL_ROWS = 64
"""With more rows, as in prompts, arithmetic takes longer than reading weights: they are dequantised first."""


class Int8Linear(nn.Module):
    """A linear layer without bias. On CUDA with Triton few rows are multiplied with the integers themselves; elsewhere
    each call dequantises the whole weight, which saves memory but no time.

    Args:
        scale: float32, whatever ``dtype`` is; do not cast the layer.
        dtype: of inputs, outputs and of the dequantised ``weight``.
    """

    numbers: Int8[Tensor, "O I"]
    scale: Float[Tensor, " O"]

    def __init__(self, numbers: Int8[Tensor, "O I"], scale: Float[Tensor, " O"], dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.out_features, self.in_features = numbers.shape
        self.register_buffer("numbers", numbers)
        self.register_buffer("scale", scale)

    @property
    def weight(self) -> Float[Tensor, "O I"]:
        """The matrix that the integers stand for, computed anew."""
        return dequantize_rows(self.numbers, self.scale).to(self.dtype)

    def forward(self, rows: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        if rows.is_cuda and rows.shape[:-1].numel() <= MOST_KERNEL_ROWS and has_triton():
            from descant.generation.runtimes.triton_int8 import multiply

            flat = rows.reshape(-1, rows.shape[-1])
            return multiply(flat, self.numbers, self.scale).view(*rows.shape[:-1], -1)
        return F.linear(rows, self.weight)

    def part(
        self, rows: Float[Tensor, "*batch I"], first: int, last: int | None = None
    ) -> Float[Tensor, "*batch part"]:
        """As ``FusedLinear.part``."""
        return Int8Linear(self.numbers[first:last], self.scale[first:last], self.dtype)(rows)


def store_in_int8(lm: MusicLM) -> None:
    """Replaces all linear layers of a model by ones in 8-bit integers, for generation only. Weights that are multiples
    of a scale already, as those of models stored in int8, keep their values; others are rounded.

    Args:
        lm: in the precision and on the device that it generates with.
    """
    for module in list(lm.modules()):
        for name, layer in list(module.named_children()):
            if isinstance(layer, nn.Linear):
                numbers, scale = quantize_rows(layer.weight.detach())
                setattr(module, name, Int8Linear(numbers, scale, layer.weight.dtype))


@cache
def has_triton() -> bool:
    """Whether Triton is installed, as it is with PyTorch for CUDA."""
    return find_spec("triton") is not None
