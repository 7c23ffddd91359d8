"""Clips at one loudness with true peaks below a limit: gain, and a look-ahead limiter where gain is not enough."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant.audio.clip import Clip
from descant.audio.loudness import integrated_loudness
from descant.audio.transforms import resample
from descant.errors import AudioError

OVERSAMPLING = 4
"""Samples per sample at which a true peak is measured (ITU-R BS.1770-4, annex 2)."""

LOOK_AHEAD_S = 0.005
LIMITER_MARGIN_DB = 0.1
"""The limiter aims this far below the limit: it scales samples, while the limit is on the signal between them."""

TOLERANCE_LU = 0.05
MAX_PASSES = 12
MAX_EXTRA_GAIN_DB = 12.0
"""How much louder than by its own gain a clip may be played into the limiter."""


def match_loudness(clip: Clip, lufs: float, max_dbtp: float) -> tuple[Clip, float]:
    """The clip at an integrated loudness of ``lufs``, and the largest reduction by the limiter in dB (often 0).

    The gain is constant, except around true peaks that it would raise above ``max_dbtp``: there it is lowered smoothly
    over five milliseconds on both sides, equally in all channels.

    Raises:
        AudioError: the clip is silent, or is mostly isolated peaks, so that it would have to be limited by more than
            12 dB to become as loud.
    """
    own_lufs = integrated_loudness(clip.samples, clip.sample_rate_hz)
    if own_lufs == -math.inf:
        raise AudioError("it is silent; silence cannot be brought to a loudness")
    first_gain_db = gain_db = lufs - own_lufs
    for _ in range(MAX_PASSES):
        samples, reduction_db = _limited(clip.samples * _factor(gain_db), clip.sample_rate_hz, max_dbtp)
        missing_lu = lufs - integrated_loudness(samples, clip.sample_rate_hz)
        if abs(missing_lu) < TOLERANCE_LU:
            return Clip(samples, clip.sample_rate_hz), reduction_db
        gain_db += missing_lu
        if gain_db > first_gain_db + MAX_EXTRA_GAIN_DB:
            break
    raise AudioError(
        f"its peaks are too high for {lufs:g} LUFS below {max_dbtp:g} dBTP: a limiter would change it audibly; "
        "use a lower loudness"
    )


def _limited(samples: Float[Tensor, "C N"], sample_rate_hz: int, max_dbtp: float) -> tuple[Float[Tensor, "C N"], float]:
    """The samples with true peaks below the limit, and the largest reduction in dB."""
    envelope = _envelope(samples, sample_rate_hz)
    if envelope.max() <= _factor(max_dbtp):
        return samples, 0.0
    allowed = (_factor(max_dbtp - LIMITER_MARGIN_DB) / envelope).clamp(max=1.0)
    reach = max(1, round(LOOK_AHEAD_S * sample_rate_hz))
    # The mean of minima, all of which include this sample, is never above what this sample is allowed.
    lowest = -F.max_pool1d(
        F.pad(-allowed[None, None], (2 * reach, 2 * reach), mode="constant", value=-1.0), 2 * reach + 1, 1
    )
    window = torch.hann_window(2 * reach + 3, periodic=False, device="cpu")[1:-1]
    gain = F.conv1d(lowest, (window / window.sum())[None, None])[0, 0]
    return samples * gain, -_db(gain.min().item())


def true_peak(clip: Clip) -> float:
    """The largest absolute value of the signal, also between its samples (ITU-R BS.1770-4, annex 2)."""
    return _envelope(clip.samples, clip.sample_rate_hz).max().item()


def _envelope(samples: Float[Tensor, "C N"], sample_rate_hz: int) -> Float[Tensor, " N"]:
    """The largest absolute value of any channel from each sample to the next, at four times the rate."""
    fine = resample(samples, sample_rate_hz, OVERSAMPLING * sample_rate_hz).abs().amax(dim=0)
    between = fine[: OVERSAMPLING * samples.shape[1]].unflatten(0, (-1, OVERSAMPLING)).amax(dim=1)
    return torch.maximum(between, samples.abs().amax(dim=0).cpu())


def _factor(db: float) -> float:
    return 10 ** (db / 20)


def _db(factor: float) -> float:
    return 20 * math.log10(factor) if factor else -math.inf
