"""Initial weights by depth, so that the stream does not grow with the number of layers."""

import math

from torch import Tensor, nn


def init_weights(embeddings: nn.ModuleList, blocks: nn.ModuleList, heads: nn.ModuleList) -> None:
    """Draws every matrix anew, in place, from torch's global generator.

    Gaussians cut off at three standard deviations: 1 / sqrt(fan in) for a linear layer, divided by
    sqrt(2 * (layer + 1)) inside layer ``layer``, and 1 / sqrt(width) for an embedding (audiocraft's weight_init
    "gaussian" with depthwise_init "current"). Norms and learned scales keep what they start from.
    """
    for embedding in embeddings:
        _draw(embedding.weight, fan_in=embedding.embedding_dim)
    for layer, block in enumerate(blocks):
        for linear in block.modules():
            if isinstance(linear, nn.Linear):
                _draw(linear.weight, fan_in=linear.in_features * 2 * (layer + 1))
    for head in heads:
        _draw(head.weight, fan_in=head.in_features)


def _draw(weight: Tensor, *, fan_in: int) -> None:
    std = 1 / math.sqrt(fan_in)
    nn.init.trunc_normal_(weight, std=std, a=-3 * std, b=3 * std)
