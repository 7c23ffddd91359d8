"""Initial weights by depth, so that the stream does not grow with the number of layers."""

import math

from jaxtyping import Float
from torch import Tensor, nn


def init_weights(embeddings: nn.ModuleList, blocks: nn.ModuleList, heads: nn.ModuleList) -> None:
    """Draws every matrix anew, in place, from torch's global generator.

    Gaussians cut off at three standard deviations: 1 / sqrt(fan in) for a linear layer, divided by
    sqrt(2 * (layer + 1)) inside layer ``layer``, and 1 / sqrt(width) for an embedding (audiocraft's weight_init
    "gaussian" with depthwise_init "current"). Norms and learned scales keep what they start from.
    """
    for table in (*embeddings, *heads):
        _draw(table.get_parameter("weight"), shrink=1)
    for layer, block in enumerate(blocks):
        for linear in block.modules():
            if isinstance(linear, nn.Linear):
                _draw(linear.weight, shrink=2 * (layer + 1))


def _draw(weight: Float[Tensor, "out fan_in"], *, shrink: int) -> None:
    std = 1 / math.sqrt(weight.shape[1] * shrink)
    nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)
