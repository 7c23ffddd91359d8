"""The bandwidth of a recording: where its spectrum ends in a cliff, as a low-pass filter leaves it.

Music loses a few decibels per octave towards high frequencies. The filters of sample rate converters and of lossy
encoders remove everything above a frequency, within a few per cent of it.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

WINDOW = 4_096
LOWEST_HZ = 2_000.0
"""Cliffs below are not looked for: there music has gaps of its own."""
CLIFF_DB = 25.0
BELOW, ABOVE = (0.86, 0.95), 1.06
"""The level below a cliff is the mean in the first part, relative to its frequency; what is above begins at ``ABOVE``.
These are 0.3 octaves, in which a filter of a synthesiser with 24 dB per octave falls by 7 dB."""
NYQUIST_SHARE = 0.9
"""A cliff above this share of half the sample rate is that of the rate itself."""
_FLOOR = 1e-16
"""Relative to the highest value: 160 dB below, which is under the rounding of 24 bits."""


def power_spectrum(samples: Float[Tensor, "C N"]) -> Float[Tensor, " bins"]:
    """The sum of the power spectra of all windows and channels; zeros if the wave is shorter than a window."""
    total = torch.zeros(WINDOW // 2 + 1, dtype=torch.float64)
    if samples.shape[1] < WINDOW:
        return total
    hann = torch.hann_window(WINDOW)
    for channel in samples:
        total += torch.fft.rfft(channel.unfold(0, WINDOW, WINDOW) * hann).abs().square().sum(dim=0)
    return total


def bandwidth_hz(spectrum: Float[Tensor, " bins"], sample_rate_hz: int) -> float:
    """The frequency of the lowest cliff of a power spectrum, half the sample rate if there is none."""
    nyquist_hz = sample_rate_hz / 2
    highest_hz = NYQUIST_SHARE * nyquist_hz
    if spectrum.max() <= 0 or highest_hz <= LOWEST_HZ:
        return nyquist_hz
    level = 10 * np.log10((spectrum / spectrum.max()).clamp_min(_FLOOR).numpy())
    hz = np.linspace(0, nyquist_hz, len(level))
    # From the top: the highest level above each frequency, without the filter of the rate itself.
    highest_above = np.maximum.accumulate(level[::-1])[::-1]
    candidates = np.arange(LOWEST_HZ, highest_hz, hz[1] * 4)
    drops = np.array([_drop_db(level, highest_above, hz, edge) for edge in candidates])
    # A cliff has its whole height only where the parts above and below it are on its two sides.
    if not len(drops) or drops.max() < CLIFF_DB:
        return nyquist_hz
    return float(candidates[drops.argmax()])


def _drop_db(level: np.ndarray, highest_above: np.ndarray, hz: np.ndarray, edge_hz: float) -> float:
    below = level[(hz >= BELOW[0] * edge_hz) & (hz <= BELOW[1] * edge_hz)]
    return float(np.median(below) - highest_above[np.searchsorted(hz, ABOVE * edge_hz)])
