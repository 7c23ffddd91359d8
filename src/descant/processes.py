"""The processes that train one model together, started by torchrun. A process that was started alone is the only one.

Every function that exchanges tensors has to be called by all processes, in the same order.
"""

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor


def count() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if count() > 1 else 0


def is_first() -> bool:
    """Whether this process writes what all of them have made."""
    return rank() == 0


def sum_of_all(tensor: Tensor) -> Tensor:
    """The tensor, in place, as the sum of those of all processes."""
    if count() > 1:
        dist.all_reduce(tensor)
    return tensor


def from_first(tensor: Tensor) -> Tensor:
    """The tensor, in place, as it is in the first process."""
    if count() > 1:
        dist.broadcast(tensor, src=0)
    return tensor


def rows_of_all(own: Float[Tensor, "rows E"], numbers: Int[Tensor, " picked"]) -> Float[Tensor, "picked E"]:
    """Rows by their numbers among those of all processes, each of which has the same number of them."""
    if count() == 1:
        return own[numbers]
    local = numbers - rank() * len(own)
    is_own = (local >= 0) & (local < len(own))
    picked = torch.where(is_own[:, None], own[local.clamp(0, len(own) - 1)], 0.0)
    return sum_of_all(picked)
