"""The processes that train one model together, started by torchrun. A process that was started alone is the only one.

Every function that exchanges tensors has to be called by all processes, in the same order.
"""

from collections.abc import Sequence

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


def row_counts(own: Float[Tensor, "rows E"]) -> list[int]:
    """The number of rows that each process has."""
    if count() == 1:
        return [len(own)]
    counts = torch.zeros(count(), dtype=torch.long, device=own.device)
    counts[rank()] = len(own)
    return [int(number) for number in sum_of_all(counts)]


def rows_of_all(
    own: Float[Tensor, "rows E"], numbers: Int[Tensor, " picked"], counts: Sequence[int]
) -> Float[Tensor, "picked E"]:
    """Rows by their numbers among those of all processes, each of which has so many (``row_counts``)."""
    if count() == 1:
        return own[numbers]
    local = numbers - sum(counts[: rank()])
    is_own = (local >= 0) & (local < len(own))
    picked = own.new_zeros(len(numbers), own.shape[1])
    picked[is_own] = own[local[is_own]]
    return sum_of_all(picked)
