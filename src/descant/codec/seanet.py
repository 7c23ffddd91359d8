"""SEANet: strided convolutions and an LSTM, from waves to latents and mirrored back (arXiv 2009.02095, 2210.13438).

Layers are numbered consecutively in each half, activations included, as in released EnCodec weights.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from descant.errors import ConfigError
from descant.nn.conv import PaddedConv1d, PaddedConvTranspose1d, PaddingMode
from descant.nn.elu import elu
from descant.nn.lstm import LSTMState, PackedLSTM, packed_if_possible
from descant.nn.prepared import Prepared
from descant.nn.stream import Chain, Each, InBlocks, Streamable, StreamStage, Sum
from descant.shapes import Wave

ELEMENTS_AT_ONCE = 2**20
"""Activations of a layer that a stream computes before it goes on to the next layer: four megabytes. Fewer fit a
smaller cache, but threads that share their cores with other processes wait for each other after every block."""

MAX_LAYERS = 64
"""More of one kind are an invalid config: layers take time to create even on the meta device."""


@dataclass(frozen=True, kw_only=True)
class SEANetConfig:
    """Shape of one half, encoder or decoder. The defaults are those of MusicGen's 32 kHz codec.

    Args:
        filters: width next to the wave; every stride doubles it.
        strides: in the decoder's order, next to the latents first.
        compress: by which factor residual blocks are narrower inside.
        dilation_growth: residual block j of a stage has dilation ``dilation_growth ** j``.
        has_conv_shortcut: residual blocks add a 1 x 1 convolution of their input instead of the input.
        is_causal: no output depends on later input, but for the first window where ``padding_mode`` is "reflect".
    """

    num_channels: int = 1
    latent_dim: int = 128
    filters: int = 64
    strides: tuple[int, ...] = (8, 5, 4, 4)
    kernel_size: int = 7
    last_kernel_size: int = 7
    residual_kernel_size: int = 3
    residual_layers: int = 1
    dilation_growth: int = 2
    compress: int = 2
    lstm_layers: int = 2
    activation: Literal["elu", "snake"] = "elu"
    has_conv_shortcut: bool = False
    padding_mode: PaddingMode = "reflect"
    is_causal: bool = False

    def __post_init__(self) -> None:
        for name in ("num_channels", "latent_dim", "filters", "kernel_size", "last_kernel_size", "compress"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("residual_layers", "lstm_layers"):
            if not 0 <= getattr(self, name) <= MAX_LAYERS:
                raise ConfigError(f"{name}={getattr(self, name)}: must be from 0 (none) to {MAX_LAYERS}")
        if not 1 <= len(self.strides) <= MAX_LAYERS or min(self.strides) < 1:
            raise ConfigError(f"strides={self.strides!r:.200}: give 1 to {MAX_LAYERS}, each at least 1")
        if self.filters % self.compress:
            raise ConfigError(f"filters={self.filters} cannot be divided by compress={self.compress}")

    @property
    def hop_samples(self) -> int:
        """Audio samples per latent frame."""
        return math.prod(self.strides)

    @property
    def widest(self) -> int:
        """Channels next to the latents, where the LSTM is."""
        return self.filters * 2 ** len(self.strides)


class Snake(nn.Module):
    """x + sin(a x)^2 / a with a learned per channel: an activation for periodic signals (arXiv 2006.08195)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.ones(channels, 1))

    def forward(self, values: Float[Tensor, "B D T"]) -> Float[Tensor, "B D T"]:
        """The activated values."""
        # A learned frequency may come close to zero, where the whole tends to x.
        return values + torch.sin(self.frequency * values).square() / (self.frequency + 1e-9)

    def stream(self) -> StreamStage:
        """A fresh stage of this layer, for chunks [B, T, D]."""
        return Each(lambda values: self(values.mT).mT)


class ResidualLSTM(nn.Module):
    """An LSTM over time whose input is added to its output."""

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers)
        self.prepared = Prepared(self.lstm, packed_if_possible)

    def forward(self, values: Float[Tensor, "B D T"]) -> Float[Tensor, "B D T"]:
        """The values plus the LSTM's outputs for them."""
        steps = rearrange(values, "B D T -> T B D")
        return rearrange(self.lstm(steps)[0] + steps, "T B D -> B D T")

    def stream(self) -> "ResidualLSTMStream":
        """A fresh stage of this layer, for chunks [B, T, D]."""
        return ResidualLSTMStream(self.prepared.get)


class ResidualLSTMStream(StreamStage):
    """An LSTM in chunks [B, T, D]; it keeps its state."""

    def __init__(self, prepare: Callable[[], nn.LSTM | PackedLSTM]) -> None:
        self.prepare = prepare
        self.state: LSTMState | None = None

    @cached_property
    def advance(self) -> nn.LSTM | PackedLSTM:
        """The LSTM without its input added."""
        return self.prepare()

    def push(self, chunk: Float[Tensor, "B T D"], is_last: bool) -> Float[Tensor, "B T D"]:  # noqa: ARG002
        if not chunk.shape[1]:  # torch's LSTM refuses an empty sequence
            return chunk
        outputs, self.state = self.advance(rearrange(chunk, "B T D -> T B D"), self.state)
        return rearrange(outputs, "T B D -> B T D") + chunk

    def last_needed(self, step: int) -> int:
        return step


class ResidualBlock(nn.Module):
    """Two convolutions, the first dilated and narrowing, plus a shortcut."""

    def __init__(self, config: SEANetConfig, channels: int, dilation: int) -> None:
        super().__init__()
        inside = channels // config.compress
        self.block = nn.Sequential(
            _activation(config, channels),
            _conv(config, channels, inside, config.residual_kernel_size, dilation=dilation),
            _activation(config, inside),
            _conv(config, inside, channels, 1),
        )
        self.shortcut = _conv(config, channels, channels, 1) if config.has_conv_shortcut else nn.Identity()

    def forward(self, values: Float[Tensor, "B D T"]) -> Float[Tensor, "B D T"]:
        """Values of the input's shape."""
        return self.shortcut(values) + self.block(values)

    def stream(self) -> StreamStage:
        """A fresh stage of this block, for chunks [B, T, D]."""
        return Sum(_stream(self.shortcut), Chain(*map(_stream, self.block)))


class SEANetEncoder(nn.Module):
    """Waves to latents, ``hop_samples`` samples per frame."""

    def __init__(self, config: SEANetConfig) -> None:
        super().__init__()
        channels = config.filters
        layers: list[nn.Module] = [_conv(config, config.num_channels, channels, config.kernel_size)]
        for stride in reversed(config.strides):
            layers += _residual_blocks(config, channels)
            layers += [
                _activation(config, channels),
                _conv(config, channels, 2 * channels, 2 * stride, stride=stride),
            ]
            channels *= 2
        layers += _lstm(config)
        layers += [
            _activation(config, channels),
            _conv(config, channels, config.latent_dim, config.last_kernel_size),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, wave: Wave) -> Float[Tensor, "B D T"]:
        """Latents of ceil(N / hop) frames."""
        return self.layers(wave)

    def stream(self) -> StreamStage:
        """A fresh stage from audio to latents."""
        groups, group = [], list[nn.Module]()
        for layer in self.layers:
            group.append(layer)
            if isinstance(layer, PaddedConv1d) and layer.stride > 1:
                steps = ELEMENTS_AT_ONCE // layer.conv.in_channels
                groups.append(InBlocks(Chain(*map(_stream, group)), max(1, steps)))
                group = []
        return Chain(Each(_swap), *groups, *map(_stream, group), Each(_swap))


class SEANetDecoder(nn.Module):
    """Latents to waves, the encoder mirrored."""

    def __init__(self, config: SEANetConfig) -> None:
        super().__init__()
        channels = config.widest
        layers: list[nn.Module] = [_conv(config, config.latent_dim, channels, config.kernel_size), *_lstm(config)]
        for stride in config.strides:
            layers += [
                _activation(config, channels),
                PaddedConvTranspose1d(channels, channels // 2, 2 * stride, stride=stride, is_causal=config.is_causal),
            ]
            channels //= 2
            layers += _residual_blocks(config, channels)
        layers += [
            _activation(config, channels),
            _conv(config, channels, config.num_channels, config.last_kernel_size),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Float[Tensor, "B D T"]) -> Wave:
        """Audio of exactly T * hop samples; its values are not bounded."""
        return self.layers(latents)

    def stream(self) -> StreamStage:
        """A fresh stage from latents to audio."""
        stages: list[StreamStage] = []
        for layer in reversed(self.layers):
            stages.insert(0, _stream(layer))
            if isinstance(layer, PaddedConvTranspose1d):
                steps = ELEMENTS_AT_ONCE // (layer.conv.out_channels * layer.stride)
                stages = [InBlocks(Chain(*stages), max(1, steps))]
        return Chain(Each(_swap), *stages, Each(_swap))


def _swap(values: Float[Tensor, "B one other"]) -> Float[Tensor, "B other one"]:
    """Time last to time second, or back."""
    return values.mT.contiguous()


def _stream(layer: nn.Module) -> StreamStage:
    """A fresh stage of a layer."""
    if isinstance(layer, Streamable):
        return layer.stream()
    if isinstance(layer, nn.ELU):
        return Each(elu)
    assert isinstance(layer, nn.Identity), f"{type(layer).__name__} may depend on other steps"
    return Each(layer)


def _activation(config: SEANetConfig, channels: int) -> nn.Module:
    return nn.ELU() if config.activation == "elu" else Snake(channels)


def _conv(
    config: SEANetConfig, channels_in: int, channels_out: int, kernel_size: int, *, stride: int = 1, dilation: int = 1
) -> PaddedConv1d:
    return PaddedConv1d(
        channels_in,
        channels_out,
        kernel_size,
        stride=stride,
        dilation=dilation,
        padding_mode=config.padding_mode,
        is_causal=config.is_causal,
    )


def _residual_blocks(config: SEANetConfig, channels: int) -> list[nn.Module]:
    return [
        ResidualBlock(config, channels, dilation=config.dilation_growth**index)
        for index in range(config.residual_layers)
    ]


def _lstm(config: SEANetConfig) -> list[nn.Module]:
    return [ResidualLSTM(config.widest, config.lstm_layers)] if config.lstm_layers else []
