"""Convolutions over time as matrix products, for inference: no gradients pass.

Values are [B, T, D], time before channels: the inputs of one output step lie next to each other in memory, so a kernel
is a few products whose rows overlap, and nothing is copied. A row of a batch is multiplied on its own.
"""

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

MIN_WIDTH = 16
"""Products over fewer inputs than this are slower than copying the inputs of all taps together."""


class ConvProduct:
    """A convolution without padding. ``stride`` taps of the kernel are one product, or one tap if it is dilated.

    The weights are copied, so later changes of the layer do not count.
    """

    def __init__(self, conv: nn.Conv1d) -> None:
        weight = conv.weight.detach()
        self.bias = weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.detach()
        self.stride, dilation = conv.stride[0], conv.dilation[0]
        kernel_size, channels = weight.shape[-1], weight.shape[1]
        taps = self.stride if dilation == 1 else 1
        if dilation == 1 and taps * channels < MIN_WIDTH:
            taps = kernel_size
        self.window = (kernel_size - 1) * dilation + 1
        self.parts = [
            (
                first * dilation,
                rearrange(weight[..., first : first + taps], "D_out D_in taps -> (taps D_in) D_out").contiguous(),
            )
            for first in range(0, kernel_size, taps)
        ]

    def __call__(self, values: Float[Tensor, "B T D_in"]) -> Float[Tensor, "B T_out D_out"]:
        """The convolution of all full windows."""
        batch, length, channels = values.shape
        num_windows = max(0, (length - self.window) // self.stride + 1)
        outputs = values.new_empty(batch, num_windows, len(self.bias))
        for row, output in zip(values.contiguous(), outputs, strict=True):
            total = self.bias
            for offset, weight in self.parts:
                start = row.storage_offset() + offset * channels
                windows = row.as_strided((num_windows, len(weight)), (self.stride * channels, 1), start)
                total = torch.addmm(total, windows, weight, out=output)
        return outputs


class ConvTransposeProduct:
    """A transposed convolution: each input step adds to its own and to ``num_later`` later strides of the output.

    The weights are copied, so later changes of the layer do not count.
    """

    def __init__(self, conv: nn.ConvTranspose1d) -> None:
        weight = conv.weight.detach()
        self.stride, self.channels_out = conv.stride[0], weight.shape[1]
        bias = weight.new_zeros(self.channels_out) if conv.bias is None else conv.bias.detach()
        self.bias = bias.repeat(self.stride)
        weight = nn.functional.pad(weight, (0, -weight.shape[-1] % self.stride))
        self.parts = [
            rearrange(part, "D_in D_out stride -> D_in (stride D_out)").contiguous()
            for part in weight.split(self.stride, dim=-1)
        ]
        self.num_later = len(self.parts) - 1

    def __call__(self, values: Float[Tensor, "B T D_in"]) -> Float[Tensor, "B T_out D_out"]:
        """The strides of output that all their inputs are among ``values`` for: all but the first ``num_later``."""
        batch, length, _ = values.shape
        num_ready = length - self.num_later
        outputs = values.new_empty(batch, num_ready, len(self.bias))
        for row, output in zip(values, outputs, strict=True):
            total = self.bias
            for later, weight in enumerate(self.parts):
                start = self.num_later - later
                total = torch.addmm(total, row[start : start + num_ready], weight, out=output)
        return outputs.view(batch, num_ready * self.stride, self.channels_out)
