"""The losses that a codec is trained on: spectral distances and adversarial losses.

Every spectral loss takes (reconstruction, target) and is zero exactly where the two are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from descant.codec.discriminators import DiscriminatorOutput
from descant.codec.mel import MelSpectrogram, mel_filters
from descant.errors import ConfigError
from descant.shapes import Wave


@dataclass(frozen=True, kw_only=True)
class MelLossConfig:
    """The defaults are the seven windows of arXiv 2306.06546, section 3.4 and its code: hops are a quarter window."""

    sample_rate_hz: int = 32_000
    windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1_024, 2_048)
    num_mels: tuple[int, ...] = (5, 10, 20, 40, 80, 160, 320)
    f_min_hz: float = 0.0
    f_max_hz: float | None = None
    floor: float = 1e-5

    def __post_init__(self) -> None:
        _check_windows(self.windows)
        _check_band(self.sample_rate_hz, self.f_min_hz, self.f_max_hz)
        if len(self.windows) != len(self.num_mels):
            raise ConfigError(
                f"{len(self.windows)} windows but {len(self.num_mels)} num_mels: give one for each window"
            )
        if min(self.num_mels) < 1:
            raise ConfigError(f"num_mels={self.num_mels}: every window needs at least one mel band")
        if self.floor <= 0:
            raise ConfigError(f"floor={self.floor:g}: must be above zero, silence would have no logarithm")


class MultiScaleMelLoss(nn.Module):
    """L1 between log10 mel magnitudes at several window lengths, summed over them (arXiv 2306.06546, section 3.4).

    Short windows resolve onsets, long ones pitch. Magnitudes below the config's ``floor`` count as the floor, so that
    inaudible differences make no gradient.
    """

    def __init__(self, config: MelLossConfig) -> None:
        super().__init__()
        self.config = config
        self.spectrograms = nn.ModuleList(
            MelSpectrogram(
                window,
                mel_filters(
                    sample_rate_hz=config.sample_rate_hz,
                    window=window,
                    num_mels=num_mels,
                    f_min_hz=config.f_min_hz,
                    f_max_hz=config.f_max_hz,
                ),
            )
            for window, num_mels in zip(config.windows, config.num_mels, strict=True)
        )

    def forward(self, reconstruction: Wave, target: Wave) -> Float[Tensor, ""]:
        """The distance of two batches of equal shape."""
        floor = self.config.floor
        losses = []
        for spectrogram in self.spectrograms:
            with torch.no_grad():
                expected = spectrogram(target).clamp(min=floor).log10()
            losses.append(l1_loss(spectrogram(reconstruction).clamp(min=floor).log10(), expected))
        return torch.stack(losses).sum()


@dataclass(frozen=True, kw_only=True)
class SpectralLossConfig:
    """The defaults are those of EnCodec's and MusicGen's codec training (arXiv 2210.13438, section 3.4)."""

    sample_rate_hz: int = 32_000
    windows: tuple[int, ...] = (64, 128, 256, 512, 1_024)
    num_mels: int = 64
    f_min_hz: float = 64.0
    f_max_hz: float | None = None
    floor: float = 1e-5

    def __post_init__(self) -> None:
        _check_windows(self.windows)
        _check_band(self.sample_rate_hz, self.f_min_hz, self.f_max_hz)
        if self.num_mels < 1:
            raise ConfigError(f"num_mels={self.num_mels}: at least one mel band is needed")
        if self.floor <= 0:
            raise ConfigError(f"floor={self.floor:g}: must be above zero, silence would have no logarithm")


class MultiScaleSpectralLoss(nn.Module):
    """L1 of mel powers plus squared error of their log10, averaged over windows (arXiv 2210.13438, section 3.4).

    Powers, as in the training code of MusicGen's codec (audiocraft, losses/specloss.py).
    """

    def __init__(self, config: SpectralLossConfig) -> None:
        super().__init__()
        self.config = config
        self.spectrograms = nn.ModuleList(
            MelSpectrogram(
                window,
                mel_filters(
                    sample_rate_hz=config.sample_rate_hz,
                    window=window,
                    num_mels=config.num_mels,
                    f_min_hz=config.f_min_hz,
                    f_max_hz=config.f_max_hz,
                    scale="htk",
                    has_unit_area=False,
                ),
                is_centred=False,
                is_normalized=True,
                is_power=True,
            )
            for window in config.windows
        )

    def forward(self, reconstruction: Wave, target: Wave) -> Float[Tensor, ""]:
        """The distance of two batches of equal shape; both terms of each window have the same weight."""
        floor = self.config.floor
        losses = []
        for spectrogram in self.spectrograms:
            with torch.no_grad():
                expected = spectrogram(target)
            actual = spectrogram(reconstruction)
            losses.append(l1_loss(actual, expected) + mse_loss((floor + actual).log10(), (floor + expected).log10()))
        return torch.stack(losses).mean() / 2


def generator_loss(fake: Sequence[DiscriminatorOutput]) -> Float[Tensor, ""]:
    """The codec's adversarial loss: minus the mean logit of its audio, averaged over discriminators.

    The generator's half of the hinge loss (arXiv 1705.02894); not clipped at logit 1, unlike in the EnCodec paper.
    """
    return -torch.stack([output.logits.float().mean() for output in fake]).mean()


def discriminator_loss(real: Sequence[DiscriminatorOutput], fake: Sequence[DiscriminatorOutput]) -> Float[Tensor, ""]:
    """The hinge loss: real audio should have logits above 1 and coded audio below -1 (arXiv 1705.02894).

    Averaged over discriminators. ``fake`` must come from a detached wave, or the codec learns to help them.
    """
    losses = [
        torch.relu(1 - ours.logits.float()).mean() + torch.relu(1 + theirs.logits.float()).mean()
        for ours, theirs in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def feature_matching_loss(
    real: Sequence[DiscriminatorOutput], fake: Sequence[DiscriminatorOutput]
) -> Float[Tensor, ""]:
    """L1 between the discriminators' features of real and coded audio, the mean over layers and discriminators.

    No gradient goes into ``real``. A mean, as in EnCodec's training: recipes that sum over layers (DAC) need weights
    smaller by the number of layers for the same effect.
    """
    losses = [
        torch.stack(
            [
                l1_loss(theirs.float(), ours.detach().float())
                for ours, theirs in zip(of_real.features, of_fake.features, strict=True)
            ]
        ).mean()
        for of_real, of_fake in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def _check_windows(windows: tuple[int, ...]) -> None:
    if not windows or any(window < 8 or window % 4 for window in windows):
        raise ConfigError(f"windows={windows}: give at least one, each a multiple of 4 from 8 on; hops are a quarter")


def _check_band(sample_rate_hz: int, f_min_hz: float, f_max_hz: float | None) -> None:
    highest = sample_rate_hz / 2
    if not 0 <= f_min_hz < (f_max_hz or highest) <= highest:
        raise ConfigError(
            f"f_min_hz={f_min_hz:g}, f_max_hz={f_max_hz}: a band must rise and end by {highest:g} Hz, "
            f"half of sample_rate_hz={sample_rate_hz}"
        )
