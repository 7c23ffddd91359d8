"""One-dimensional convolutions that keep time aligned: T frames stay T, become ceil(T / stride), or become T * stride.

Padding is what "same" means for SEANet (arXiv 2210.13438): the surplus of the kernel over the stride is split over both
sides, the larger half to the left, or put all on the left if the layer is causal. All layers are weight-normalised.
"""

from functools import cached_property
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv_transpose1d, pad
from torch.nn.utils.parametrizations import weight_norm

from descant.errors import ConfigError
from descant.nn.stream import StreamStage

PaddingMode: TypeAlias = Literal["reflect", "constant"]


def pad_time(values: Float[Tensor, "B D T"], left: int, right: int, mode: PaddingMode) -> Float[Tensor, "B D padded"]:
    """The values with ``left`` and ``right`` more steps, zeros or mirrored ones.

    Reflection needs more steps than it pads. Where there are too few, zeros are appended first and may then be
    reflected; released codecs do the same.
    """
    if mode == "constant":
        return pad(values, (left, right))
    lacking = max(0, max(left, right) + 1 - values.shape[-1])
    mirrored = pad(pad(values, (0, lacking)), (left, right), mode="reflect")
    return mirrored[..., : mirrored.shape[-1] - lacking]


class PaddedConv1d(nn.Module):
    """A convolution of T steps into ceil(T / stride).

    After the padding for alignment, the right end is padded until the last window is full: no sample is dropped.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel_size: int,
        *,
        stride: int = 1,
        dilation: int = 1,
        padding_mode: PaddingMode = "reflect",
        is_causal: bool = False,
    ) -> None:
        super().__init__()
        surplus = (kernel_size - 1) * dilation + 1 - stride
        if surplus < 0:
            raise ConfigError(f"kernel_size={kernel_size} is shorter than stride={stride}: steps would be skipped")
        self.stride = stride
        self.padding_mode: PaddingMode = padding_mode
        self.padding_right = 0 if is_causal else surplus // 2
        self.padding_left = surplus - self.padding_right
        self.conv = weight_norm(nn.Conv1d(channels_in, channels_out, kernel_size, stride, dilation=dilation))

    def forward(self, values: Float[Tensor, "B D_in T"]) -> Float[Tensor, "B D_out T_out"]:
        """The convolution; output step t is centred on (causal: ends with) the input steps from t * stride on."""
        to_full_window = -values.shape[-1] % self.stride
        padded = pad_time(values, self.padding_left, self.padding_right + to_full_window, self.padding_mode)
        return self.conv(padded)

    def stream(self) -> "ConvStream":
        """A fresh stage of this layer."""
        return ConvStream(self.conv, self.padding_left, self.padding_right, self.padding_mode)


class PaddedConvTranspose1d(nn.Module):
    """A transposed convolution of T steps into exactly T * stride: the surplus at the ends is cut off."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel_size: int, *, stride: int, is_causal: bool = False
    ) -> None:
        super().__init__()
        surplus = kernel_size - stride
        if surplus < 0:
            raise ConfigError(f"kernel_size={kernel_size} is shorter than stride={stride}: the output would have gaps")
        self.cut_right = surplus if is_causal else surplus // 2
        self.cut_left = surplus - self.cut_right
        self.conv = weight_norm(nn.ConvTranspose1d(channels_in, channels_out, kernel_size, stride))

    def forward(self, values: Float[Tensor, "B D_in T"]) -> Float[Tensor, "B D_out T_out"]:
        """The upsampled values."""
        whole = self.conv(values)
        return whole[..., self.cut_left : whole.shape[-1] - self.cut_right]

    def stream(self) -> "ConvTransposeStream":
        """A fresh stage of this layer."""
        return ConvTransposeStream(self.conv, self.cut_left, self.cut_right)


class ConvStream(StreamStage):
    """A convolution in chunks; it keeps the inputs that its next window begins with.

    Args:
        conv: only its weights, stride and dilation are used; ``left`` and ``right`` are the padding.
    """

    def __init__(self, conv: nn.Conv1d, left: int, right: int, mode: PaddingMode) -> None:
        self.conv = conv
        self.left, self.right, self.mode = left, right, mode
        self.stride = conv.stride[0]
        self.window = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1
        self.num_seen = 0
        self.has_started = False
        self.kept: Tensor | None = None
        self.latest: Tensor | None = None

    @cached_property
    def weight(self) -> Tensor:
        """The convolution's weight, normalised once instead of for every chunk."""
        return self.conv.weight.detach()

    def push(self, chunk: Float[Tensor, "B D_in T"], is_last: bool) -> Float[Tensor, "B D_out T_out"]:
        self.num_seen += chunk.shape[-1]
        values = chunk if self.kept is None else torch.cat([self.kept, chunk], dim=-1)
        self._remember(chunk)
        if is_last:
            values = self._padded_at_end(values)
        # Until there are enough steps to reflect at the start, zeros may have to be appended first (see pad_time).
        elif not self.has_started and (self.mode == "constant" or values.shape[-1] > self.left):
            values = pad_time(values, self.left, 0, self.mode)
            self.has_started = True
        num_ready = max(0, (values.shape[-1] - self.window) // self.stride + 1) if self.has_started or is_last else 0
        self.kept = values[..., num_ready * self.stride :].clone()
        if not num_ready:
            return values.new_zeros(len(values), self.conv.out_channels, 0)
        conv = self.conv
        return conv1d(values, self.weight, conv.bias, stride=conv.stride, dilation=conv.dilation, groups=conv.groups)

    def _remember(self, chunk: Float[Tensor, "B D_in T"]) -> None:
        """Keeps as many of the latest inputs as a reflection at the end may need, its axis included."""
        count = self.right + self.stride
        if self.latest is not None and chunk.shape[-1] < count:
            chunk = torch.cat([self.latest, chunk], dim=-1)
        self.latest = chunk[..., max(0, chunk.shape[-1] - count) :].clone()

    def _padded_at_end(self, values: Float[Tensor, "B D_in T"]) -> Float[Tensor, "B D_in T_padded"]:
        """The remaining values, padded at the end, and at the start too if that has not happened yet."""
        right = self.right + -self.num_seen % self.stride
        if not self.has_started or self.latest is None:
            return pad_time(values, self.left, right, self.mode)
        mirrored = pad_time(self.latest, 0, right, self.mode)[..., self.latest.shape[-1] :]
        return torch.cat([values, mirrored], dim=-1)

    def last_needed(self, step: int) -> int:
        last = step * self.stride + self.window - 1 - self.left
        return last if self.mode == "constant" else max(last, self.left)


class ConvTransposeStream(StreamStage):
    """A transposed convolution in chunks; it keeps the sums that later inputs will add to."""

    def __init__(self, conv: nn.ConvTranspose1d, cut_left: int, cut_right: int) -> None:
        self.conv = conv
        self.stride = conv.stride[0]
        self.surplus = cut_left + cut_right
        self.cut_left = self.still_to_cut = cut_left
        self.kept: Tensor | None = None

    @cached_property
    def weight(self) -> Tensor:
        """The convolution's weight, normalised once instead of for every chunk."""
        return self.conv.weight.detach()

    def push(self, chunk: Float[Tensor, "B D_in T"], is_last: bool) -> Float[Tensor, "B D_out T_out"]:
        if self.kept is None:
            self.kept = chunk.new_zeros(len(chunk), self.conv.out_channels, self.surplus)
        num_ready = chunk.shape[-1] * self.stride
        sums = pad(self.kept, (0, num_ready))
        if num_ready:
            sums = sums + conv_transpose1d(chunk, self.weight, stride=self.stride)
        self.kept = sums[..., num_ready:].clone()
        ready = sums[..., self.still_to_cut : num_ready + (self.cut_left if is_last else 0)]
        self.still_to_cut = max(0, self.still_to_cut - num_ready)
        return ready if self.conv.bias is None else ready + self.conv.bias[:, None]

    def last_needed(self, step: int) -> int:
        return (step + self.cut_left) // self.stride
