"""One-dimensional convolutions that keep time aligned: T frames stay T, become ceil(T / stride), or become T * stride.

Padding is what "same" means for SEANet (arXiv 2210.13438): the surplus of the kernel over the stride is split over both
sides, the larger half to the left, or put all on the left if the layer is causal. All layers are weight-normalised.
"""

from typing import Literal, TypeAlias

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.parametrizations import weight_norm

from descant.errors import ConfigError

PaddingMode: TypeAlias = Literal["reflect", "constant"]


def pad_time(values: Float[Tensor, "B D T"], left: int, right: int, mode: PaddingMode) -> Float[Tensor, "B D padded"]:
    """The values with ``left`` and ``right`` more steps, zeros or mirrored ones.

    A mirror needs more steps than it shows. Where there are too few, zeros are put behind the values first, and what is
    mirrored may then be zeros; released codecs do the same.
    """
    if mode == "constant":
        return pad(values, (left, right))
    lacking = max(0, max(left, right) + 1 - values.shape[-1])
    mirrored = pad(pad(values, (0, lacking)), (left, right), mode="reflect")
    return mirrored[..., : mirrored.shape[-1] - lacking]


class PaddedConv1d(nn.Module):
    """A convolution of T steps into ceil(T / stride).

    Besides the padding that aligns it, it fills up the right end until the last window is full: no sample is dropped.
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
            raise ConfigError(f"kernel_size={kernel_size} is shorter than stride={stride}: steps would go unheard")
        self.stride = stride
        self.padding_mode: PaddingMode = padding_mode
        self.padding_right = 0 if is_causal else surplus // 2
        self.padding_left = surplus - self.padding_right
        self.conv = weight_norm(nn.Conv1d(channels_in, channels_out, kernel_size, stride, dilation=dilation))

    def forward(self, values: Float[Tensor, "B D_in T"]) -> Float[Tensor, "B D_out T_out"]:
        """The convolution; output step t is centred on (causal: ends with) the inputs of steps t * stride and on."""
        to_full_window = -values.shape[-1] % self.stride
        padded = pad_time(values, self.padding_left, self.padding_right + to_full_window, self.padding_mode)
        return self.conv(padded)


class PaddedConvTranspose1d(nn.Module):
    """A transposed convolution of T steps into exactly T * stride: what overhangs at the ends is cut off."""

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
