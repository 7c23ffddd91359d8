"""Linear layers without bias that are quick for the few rows of a decoding step."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

FEW_ROWS = 4
"""Up to here ``W x^T`` beats ``x W^T`` on a CPU; further on they are even, then it loses."""


def linear(rows: Float[Tensor, "*rows I"], weight: Float[Tensor, "O I"]) -> Float[Tensor, "*rows O"]:
    """``F.linear`` without bias, up to rounding.

    A step of one request with guidance has two rows. For these the matrix library runs over the weights at a fraction
    of the memory's speed; with the factors exchanged it takes half the time, at widths from 256 to 1024.
    """
    leading = rows.shape[:-1]
    if rows.device.type != "cpu" or not 2 <= leading.numel() <= FEW_ROWS:
        return F.linear(rows, weight)
    turned = torch.mm(weight, rows.reshape(-1, rows.shape[-1]).t()).t()
    # Left as a transposed view it would push the attention that follows off its fast path.
    return turned.contiguous().view(*leading, len(weight))


class Linear(nn.Linear):
    """A linear layer without bias, computed by ``linear``."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features, bias=False)

    def forward(self, rows: Float[Tensor, "*rows I"]) -> Float[Tensor, "*rows O"]:
        return linear(rows, self.weight)
