"""Mel filters whose sides are straight lines over mels, as in HTK, Kaldi and the networks trained on AudioSet."""

import torch
from jaxtyping import Float
from torch import Tensor

from descant.codec.mel import hz_to_mel


def mel_linear_filters(
    sample_rate_hz: int, window: int, num_mels: int, f_min_hz: float, f_max_hz: float
) -> Float[Tensor, "bins mels"]:
    """Triangles of height one over the ``window // 2 + 1`` bins of a spectrum, a column each.

    The triangles of ``codec.mel`` have straight sides over hertz instead.
    """
    bins_hz = torch.linspace(0, sample_rate_hz / 2, window // 2 + 1, dtype=torch.float64)
    bins = hz_to_mel(bins_hz, "htk")[:, None]
    low, high = hz_to_mel(torch.tensor([f_min_hz, f_max_hz], dtype=torch.float64), "htk").tolist()
    corners = torch.linspace(low, high, num_mels + 2, dtype=torch.float64)
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    return torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp(min=0).float()
