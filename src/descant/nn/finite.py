"""Whether numbers are finite."""

import torch
from torch import Tensor


def is_finite(tensor: Tensor) -> bool:
    """Whether all values are finite. The extremes are NaN if any value is; ``isfinite`` of all takes six times as
    long, and memory."""
    return not tensor.numel() or all(bool(extreme.isfinite()) for extreme in torch.aminmax(tensor))
