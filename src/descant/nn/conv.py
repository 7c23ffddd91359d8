"""One-dimensional convolutions that keep time aligned: T frames stay T, become ceil(T / stride), or become T * stride.

Padding is what "same" means for SEANet (arXiv 2210.13438): the surplus of the kernel over the stride is split over both
sides, the larger half to the left, or put all on the left if the layer is causal. All layers are weight-normalised.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.parametrizations import weight_norm

from descant.errors import ConfigError
from descant.nn.prepared import Prepared
from descant.nn.products import ConvProduct, ConvTransposeProduct
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


def pad_steps(values: Float[Tensor, "B T D"], left: int, right: int, mode: PaddingMode) -> Float[Tensor, "B padded D"]:
    """As `pad_time`, for steps whose channels lie next to each other; they stay so."""
    if mode == "constant":
        return pad(values, (0, 0, left, right))
    lacking = max(0, max(left, right) + 1 - values.shape[1])
    values = pad(values, (0, 0, 0, lacking)) if lacking else values
    before, after = values[:, 1 : left + 1].flip(1), values[:, values.shape[1] - 1 - right : -1].flip(1)
    mirrored = torch.cat([before, values, after], dim=1)
    return mirrored[:, : mirrored.shape[1] - lacking]


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
        self.product = Prepared(self.conv, ConvProduct)

    def forward(self, values: Float[Tensor, "B D_in T"]) -> Float[Tensor, "B D_out T_out"]:
        """The convolution; output step t is centred on (causal: ends with) the input steps from t * stride on."""
        to_full_window = -values.shape[-1] % self.stride
        padded = pad_time(values, self.padding_left, self.padding_right + to_full_window, self.padding_mode)
        return self.conv(padded)

    def stream(self) -> "ConvStream":
        """A fresh stage of this layer, for chunks [B, T, D]."""
        return ConvStream(self.conv, self.padding_left, self.padding_right, self.padding_mode, self.product.get)


class PaddedConvTranspose1d(nn.Module):
    """A transposed convolution of T steps into exactly T * stride: the surplus at the ends is cut off."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel_size: int, *, stride: int, is_causal: bool = False
    ) -> None:
        super().__init__()
        surplus = kernel_size - stride
        if surplus < 0:
            raise ConfigError(f"kernel_size={kernel_size} is shorter than stride={stride}: the output would have gaps")
        self.stride = stride
        self.cut_right = surplus if is_causal else surplus // 2
        self.cut_left = surplus - self.cut_right
        self.conv = weight_norm(nn.ConvTranspose1d(channels_in, channels_out, kernel_size, stride))
        self.product = Prepared(self.conv, ConvTransposeProduct)

    def forward(self, values: Float[Tensor, "B D_in T"]) -> Float[Tensor, "B D_out T_out"]:
        """The upsampled values."""
        whole = self.conv(values)
        return whole[..., self.cut_left : whole.shape[-1] - self.cut_right]

    def stream(self) -> "ConvTransposeStream":
        """A fresh stage of this layer, for chunks [B, T, D]."""
        return ConvTransposeStream(self.conv, self.cut_left, self.product.get)


class ConvStream(StreamStage):
    """A convolution in chunks [B, T, D]; it keeps the inputs that its next window begins with.

    Args:
        conv: only its shape, stride and dilation are used; ``left`` and ``right`` are the padding.
        prepare: gives the convolution without padding, when it is first needed.
    """

    def __init__(
        self,
        conv: nn.Conv1d,
        left: int,
        right: int,
        mode: PaddingMode,
        prepare: Callable[[], Callable[[Float[Tensor, "B T D_in"]], Float[Tensor, "B T_out D_out"]]],
    ) -> None:
        self.prepare = prepare
        self.channels_out = conv.out_channels
        self.left, self.right, self.mode = left, right, mode
        self.stride = conv.stride[0]
        self.window = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1
        self.num_seen = 0
        self.has_started = False
        self.kept: Tensor | None = None
        self.latest: Tensor | None = None

    @cached_property
    def convolve(self) -> Callable[[Float[Tensor, "B T D_in"]], Float[Tensor, "B T_out D_out"]]:
        """The convolution of full windows."""
        return self.prepare()

    def push(self, chunk: Float[Tensor, "B T D_in"], is_last: bool) -> Float[Tensor, "B T_out D_out"]:
        self.num_seen += chunk.shape[1]
        values = chunk if self.kept is None or not self.kept.shape[1] else torch.cat([self.kept, chunk], dim=1)
        self._remember(chunk)
        if is_last:
            values = self._padded_at_end(values)
        # Until there are enough steps to reflect at the start, zeros may have to be appended first (see pad_time).
        elif not self.has_started and (self.mode == "constant" or values.shape[1] > self.left):
            values = self._padded(values, self.left, 0)
            self.has_started = True
        num_ready = max(0, (values.shape[1] - self.window) // self.stride + 1) if self.has_started or is_last else 0
        self.kept = values[:, num_ready * self.stride :].clone(memory_format=torch.contiguous_format)
        return self.convolve(values) if num_ready else values.new_zeros(len(values), 0, self.channels_out)

    def _padded(self, values: Float[Tensor, "B T D"], left: int, right: int) -> Float[Tensor, "B T_padded D"]:
        return pad_steps(values, left, right, self.mode) if left or right else values

    def _remember(self, chunk: Float[Tensor, "B T D_in"]) -> None:
        """Keeps as many of the latest inputs as a reflection at the end may need, its axis included."""
        count = self.right + self.stride
        if self.latest is not None and chunk.shape[1] < count:
            chunk = torch.cat([self.latest, chunk], dim=1)
        self.latest = chunk[:, max(0, chunk.shape[1] - count) :].clone(memory_format=torch.contiguous_format)

    def _padded_at_end(self, values: Float[Tensor, "B T D_in"]) -> Float[Tensor, "B T_padded D_in"]:
        """The remaining values, padded at the end, and at the start too if that has not happened yet."""
        right = self.right + -self.num_seen % self.stride
        if not self.has_started or self.latest is None:
            return self._padded(values, self.left, right)
        mirrored = self._padded(self.latest, 0, right)[:, self.latest.shape[1] :]
        return torch.cat([values, mirrored], dim=1)

    def last_needed(self, step: int) -> int:
        last = step * self.stride + self.window - 1 - self.left
        return last if self.mode == "constant" else max(last, self.left)


class ConvTransposeStream(StreamStage):
    """A transposed convolution in chunks [B, T, D]; it keeps the inputs that later outputs depend on."""

    def __init__(self, conv: nn.ConvTranspose1d, cut_left: int, prepare: Callable[[], ConvTransposeProduct]) -> None:
        self.prepare = prepare
        self.stride = conv.stride[0]
        self.cut_left = self.still_to_cut = cut_left
        self.kept: Tensor | None = None

    @cached_property
    def product(self) -> ConvTransposeProduct:
        """The convolution of all strides whose inputs are known."""
        return self.prepare()

    def push(self, chunk: Float[Tensor, "B T D_in"], is_last: bool) -> Float[Tensor, "B T_out D_out"]:
        num_later = self.product.num_later
        if self.kept is None:
            self.kept = chunk.new_zeros(len(chunk), num_later, chunk.shape[-1])
        values = torch.cat([self.kept, chunk], dim=1)
        self.kept = values[:, values.shape[1] - num_later :].clone(memory_format=torch.contiguous_format)
        num_ready = chunk.shape[1] * self.stride
        outputs = self.product(pad(values, (0, 0, 0, num_later)) if is_last else values)
        ready = outputs[:, self.still_to_cut : num_ready + (self.cut_left if is_last else 0)]
        self.still_to_cut = max(0, self.still_to_cut - num_ready)
        return ready

    def last_needed(self, step: int) -> int:
        return (step + self.cut_left) // self.stride
