"""Discriminators between coded and real audio: on complex spectrograms, on periods, and on scales.

Each has several sub-discriminators and returns one ``DiscriminatorOutput`` for each of them, so that losses do not
depend on the kind of discriminator.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.nn.utils.parametrizations import weight_norm

from descant.errors import ConfigError, InvalidRequest
from descant.shapes import Wave

SILENCE = 1e-4
"""A magnitude that is added to all before they are raised to a power: at zero the gradient would be infinite."""


@dataclass(frozen=True)
class DiscriminatorOutput:
    """How real every patch of the audio looks (high is real), and the features behind that, layer by layer."""

    logits: Tensor
    features: list[Tensor]


def _discriminate(layers: nn.ModuleList, last: nn.Module, values: Tensor, slope: float) -> DiscriminatorOutput:
    features = []
    for layer in layers:
        values = leaky_relu(layer(values), slope)
        features.append(values)
    return DiscriminatorOutput(logits=last(values), features=features)


def _check_layers(filters: int, leaky_slope: float) -> None:
    if filters < 1:
        raise ConfigError(f"filters={filters}: at least one is needed")
    if not 0 <= leaky_slope < 1:
        raise ConfigError(f"leaky_slope={leaky_slope:g}: must be in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class STFTDiscriminatorConfig:
    """The defaults are EnCodec's and MusicGen's (arXiv 2210.13438, section 3.4); ``filters`` dominates the cost.

    Args:
        magnitude_power: to which magnitudes are raised, phases kept. At 1 a discriminator hears loud partials; at 0.3
            one that is 60 dB below them is an eighth of their size and not a thousandth.
    """

    num_channels: int = 1
    filters: int = 32
    n_ffts: tuple[int, ...] = (1_024, 2_048, 512, 256, 128)
    kernel_size: tuple[int, int] = (3, 9)
    dilations: tuple[int, ...] = (1, 2, 4)
    frequency_stride: int = 2
    leaky_slope: float = 0.3
    magnitude_power: float = 1.0

    def __post_init__(self) -> None:
        _check_layers(self.filters, self.leaky_slope)
        if not 0 < self.magnitude_power <= 1:
            raise ConfigError(f"magnitude_power={self.magnitude_power:g}: must be above 0 and at most 1")
        if not self.n_ffts or any(n_fft < 8 or n_fft % 4 for n_fft in self.n_ffts):
            raise ConfigError(f"n_ffts={self.n_ffts}: give at least one, each a multiple of 4 from 8 on")
        if any(size % 2 == 0 for size in self.kernel_size):
            raise ConfigError(f"kernel_size={self.kernel_size}: both must be odd, or maps would shift")


class STFTDiscriminator(nn.Module):
    """2-d convolutions over one complex spectrogram; time stays at the hop, frequencies are halved by each stage."""

    window: Tensor

    def __init__(self, config: STFTDiscriminatorConfig, n_fft: int) -> None:
        super().__init__()
        self.slope, self.power = config.leaky_slope, config.magnitude_power
        hann = torch.hann_window(n_fft)
        # Of unit energy, so that the spectrograms of all scales have values of the same magnitude.
        self.register_buffer("window", hann / hann.norm(), persistent=False)
        filters, (time, frequency) = config.filters, config.kernel_size
        layers = [nn.Conv2d(2 * config.num_channels, filters, config.kernel_size, padding=(time // 2, frequency // 2))]
        for dilation in config.dilations:
            padding = (time // 2 * dilation, frequency // 2)
            stride = (1, config.frequency_stride)
            layers.append(nn.Conv2d(filters, filters, config.kernel_size, stride, padding, dilation=(dilation, 1)))
        layers.append(nn.Conv2d(filters, filters, (time, time), padding=time // 2))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.last = weight_norm(nn.Conv2d(filters, 1, (time, time), padding=time // 2))

    def forward(self, wave: Wave) -> DiscriminatorOutput:
        """Logits as "B 1 frames bins".

        Raises:
            InvalidRequest: the wave is shorter than one window.
        """
        n_fft = len(self.window)
        if wave.shape[-1] < n_fft:
            raise InvalidRequest(f"a wave of {wave.shape[-1]} samples does not fill one window of n_fft={n_fft}")
        # Outside autocast: half precision has no complex numbers on most devices.
        with torch.autocast(wave.device.type, enabled=False):
            sides = rearrange(wave.float(), "B C N -> (B C) N")
            spectrum = torch.stft(sides, n_fft, n_fft // 4, window=self.window, center=False, return_complex=True)
        parts = torch.view_as_real(spectrum)
        if self.power != 1:
            magnitudes = parts.square().sum(dim=-1, keepdim=True) + SILENCE**2
            parts = parts * magnitudes ** ((self.power - 1) / 2)
        maps = rearrange(parts, "(B C) bins frames part -> B (part C) frames bins", C=wave.shape[1])
        return _discriminate(self.layers, self.last, maps, self.slope)


class MultiScaleSTFTDiscriminator(nn.Module):
    """Spectrogram discriminators at several window lengths (arXiv 2210.13438, section 3.4)."""

    def __init__(self, config: STFTDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.parts = nn.ModuleList(STFTDiscriminator(config, n_fft) for n_fft in config.n_ffts)

    def forward(self, wave: Wave) -> list[DiscriminatorOutput]:
        """One output per window length, in the config's order."""
        return [part(wave) for part in self.parts]


@dataclass(frozen=True, kw_only=True)
class PeriodDiscriminatorConfig:
    """The defaults are HiFi-GAN's (arXiv 2010.05646, section 2.3): prime periods, which overlap least."""

    num_channels: int = 1
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    filters: int = 32
    max_filters: int = 1_024
    filter_growth: int = 4
    num_layers: int = 5
    kernel_size: int = 5
    stride: int = 3
    leaky_slope: float = 0.1

    def __post_init__(self) -> None:
        _check_layers(self.filters, self.leaky_slope)
        if not self.periods or min(self.periods) < 1:
            raise ConfigError(f"periods={self.periods}: give at least one, each at least 1 sample")
        if self.kernel_size % 2 == 0:
            raise ConfigError(f"kernel_size={self.kernel_size}: must be odd, or maps would shift")


class PeriodDiscriminator(nn.Module):
    """The wave written in rows of ``period`` samples; convolutions run down the columns and never across."""

    def __init__(self, config: PeriodDiscriminatorConfig, period: int) -> None:
        super().__init__()
        self.period = period
        self.slope = config.leaky_slope
        widths = [config.num_channels] + [
            min(config.filters * config.filter_growth**index, config.max_filters) for index in range(config.num_layers)
        ]
        kernel, padding = (config.kernel_size, 1), (config.kernel_size // 2, 0)
        strides = [config.stride] * (config.num_layers - 1) + [1]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(width, wider, kernel, (stride, 1), padding))
            for width, wider, stride in zip(widths[:-1], widths[1:], strides, strict=True)
        )
        self.last = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, wave: Wave) -> DiscriminatorOutput:
        """Logits as "B 1 rows period". The last row is filled by reflection."""
        missing = -wave.shape[-1] % self.period
        filled = nn.functional.pad(wave, (0, missing), mode="reflect")
        rows = rearrange(filled, "B C (row column) -> B C row column", column=self.period)
        return _discriminate(self.layers, self.last, rows, self.slope)


class MultiPeriodDiscriminator(nn.Module):
    """Discriminators that look at every p-th sample, for several periods p (arXiv 2010.05646, section 2.3)."""

    def __init__(self, config: PeriodDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.parts = nn.ModuleList(PeriodDiscriminator(config, period) for period in config.periods)

    def forward(self, wave: Wave) -> list[DiscriminatorOutput]:
        """One output per period, in the config's order."""
        return [part(wave) for part in self.parts]


@dataclass(frozen=True, kw_only=True)
class ScaleDiscriminatorConfig:
    """The defaults are MelGAN's (arXiv 1910.06711, section 2.2): the wave at full, half and quarter rate."""

    num_channels: int = 1
    num_scales: int = 3
    filters: int = 16
    max_filters: int = 1_024
    strides: tuple[int, ...] = (4, 4, 4, 4)
    leaky_slope: float = 0.2

    def __post_init__(self) -> None:
        _check_layers(self.filters, self.leaky_slope)
        if self.num_scales < 1:
            raise ConfigError(f"num_scales={self.num_scales}: at least one is needed")
        if self.filters % 4:
            raise ConfigError(f"filters={self.filters}: must be a multiple of 4, the width of a group")


class ScaleDiscriminator(nn.Module):
    """Strided, grouped 1-d convolutions over the wave itself."""

    def __init__(self, config: ScaleDiscriminatorConfig) -> None:
        super().__init__()
        self.slope = config.leaky_slope
        width = config.filters
        layers = [nn.Conv1d(config.num_channels, width, 15, padding=7)]
        for stride in config.strides:
            wider = min(width * stride, config.max_filters)
            kernel = 10 * stride + 1
            layers.append(nn.Conv1d(width, wider, kernel, stride, padding=kernel // 2, groups=width // 4))
            width = wider
        layers.append(nn.Conv1d(width, width, 5, padding=2))
        self.layers = nn.ModuleList(weight_norm(layer) for layer in layers)
        self.last = weight_norm(nn.Conv1d(width, 1, 3, padding=1))

    def forward(self, wave: Wave) -> DiscriminatorOutput:
        """Logits as "B 1 patches"."""
        return _discriminate(self.layers, self.last, wave, self.slope)


class MultiScaleDiscriminator(nn.Module):
    """The same discriminator on the wave and on copies at half, quarter ... rate (arXiv 1910.06711, section 2.2)."""

    def __init__(self, config: ScaleDiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.parts = nn.ModuleList(ScaleDiscriminator(config) for _ in range(config.num_scales))
        self.halve = nn.AvgPool1d(4, stride=2, padding=1, count_include_pad=False)

    def forward(self, wave: Wave) -> list[DiscriminatorOutput]:
        """One output per scale, the full rate first."""
        outputs = []
        for index, part in enumerate(self.parts):
            if index > 0:
                wave = self.halve(wave)
            outputs.append(part(wave))
        return outputs


class DiscriminatorPanel(nn.Module):
    """Several discriminators as one: their outputs, concatenated."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, wave: Wave) -> list[DiscriminatorOutput]:
        """The outputs of the first member, then of the second, and so on."""
        return [output for member in self.members for output in member(wave)]
