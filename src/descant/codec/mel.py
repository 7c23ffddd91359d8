"""Differentiable mel spectrograms: a filter bank, and a module that applies it to waves."""

import math
from typing import Literal, TypeAlias

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from descant.errors import InvalidRequest
from descant.shapes import Wave

MelScale: TypeAlias = Literal["slaney", "htk"]

# Slaney's scale is linear up to 1 kHz and has 27 logarithmic steps to a factor of 6.4 above (Auditory Toolbox, 1998).
_LINEAR_HZ = 200 / 3
_KNEE_HZ = 1_000.0
_LOG_STEP = math.log(6.4) / 27


def hz_to_mel(hz: Float[Tensor, "*n"], scale: MelScale) -> Float[Tensor, "*n"]:
    """Mels of frequencies."""
    if scale == "htk":
        return 2_595 * torch.log10(1 + hz / 700)
    above = _KNEE_HZ / _LINEAR_HZ + torch.log(hz.clamp(min=_KNEE_HZ) / _KNEE_HZ) / _LOG_STEP
    return torch.where(hz < _KNEE_HZ, hz / _LINEAR_HZ, above)


def mel_to_hz(mel: Float[Tensor, "*n"], scale: MelScale) -> Float[Tensor, "*n"]:
    """Frequencies of mels, the inverse of ``hz_to_mel``."""
    if scale == "htk":
        return 700 * (10 ** (mel / 2_595) - 1)
    knee = _KNEE_HZ / _LINEAR_HZ
    return torch.where(mel < knee, mel * _LINEAR_HZ, _KNEE_HZ * torch.exp(_LOG_STEP * (mel - knee)))


def mel_filters(
    *,
    sample_rate_hz: int,
    window: int,
    num_mels: int,
    f_min_hz: float = 0.0,
    f_max_hz: float | None = None,
    scale: MelScale = "slaney",
    has_unit_area: bool = True,
) -> Float[Tensor, "bins mels"]:
    """Triangles of equal width in mels, one per column, over the ``window // 2 + 1`` bins of a spectrum.

    A triangle narrower than a bin may contain none: its column is zero, and a loss over it is zero too.

    Args:
        f_max_hz: None is half the sample rate.
        has_unit_area: each triangle has an area of one hertz; otherwise a height of one.
    """
    # In double precision: the bank is built once, and rounding would move the corners of narrow triangles.
    ends = torch.tensor([f_min_hz, f_max_hz or sample_rate_hz / 2], dtype=torch.float64)
    low, high = hz_to_mel(ends, scale).tolist()
    corners = mel_to_hz(torch.linspace(low, high, num_mels + 2, dtype=torch.float64), scale)
    bins = torch.linspace(0, sample_rate_hz / 2, window // 2 + 1, dtype=torch.float64)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    triangles = torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0)
    if has_unit_area:
        triangles = triangles * 2 / (right - left)
    return triangles.float()


class MelSpectrogram(nn.Module):
    """Mel magnitudes or powers of a wave, by one STFT with a Hann window and a hop of a quarter of it.

    Args:
        filters: the result of ``mel_filters`` for this ``window``.
        is_centred: frame t is centred on sample t * hop, the wave reflected at its ends; otherwise the frames tile the
            wave, reflected by (window - hop) / 2.
        is_normalized: the window has unit energy, so magnitudes do not grow with it.
        is_power: the filters sum squared magnitudes.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self,
        window: int,
        filters: Float[Tensor, "bins mels"],
        *,
        is_centred: bool = True,
        is_normalized: bool = False,
        is_power: bool = False,
    ) -> None:
        super().__init__()
        self.is_power = is_power
        self.hop = window // 4
        self.padding = window // 2 if is_centred else (window - self.hop) // 2
        hann = torch.hann_window(window)
        self.register_buffer("window", hann / hann.norm() if is_normalized else hann, persistent=False)
        self.register_buffer("filters", filters.clone(), persistent=False)

    def forward(self, wave: Wave) -> Float[Tensor, "B C frames mels"]:
        """The bands, in single precision even under autocast: half precision has too few bits for quiet ones.

        Raises:
            InvalidRequest: the wave is too short to be reflected by half a window.
        """
        if wave.shape[-1] <= self.padding:
            raise InvalidRequest(
                f"a wave of {wave.shape[-1]} samples is too short for a window of {len(self.window)}: "
                f"give at least {self.padding + 1} samples, or leave that window out"
            )
        with torch.autocast(wave.device.type, enabled=False):
            sides = rearrange(wave.float(), "B C N -> (B C) N")
            padded = nn.functional.pad(sides, (self.padding, self.padding), mode="reflect")
            spectrum = torch.stft(
                padded, len(self.window), self.hop, window=self.window, center=False, return_complex=True
            )
            # Not abs() squared, whose gradient is undefined where the spectrum is zero.
            strengths = spectrum.real.square() + spectrum.imag.square() if self.is_power else spectrum.abs()
            return rearrange(strengths, "(B C) bins frames -> B C frames bins", C=wave.shape[1]) @ self.filters
