"""Averaged weights: what is validated and exported, smoother than the weights of any one step."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """An exponential moving average of a module's parameters and buffers.

    Buffers count, because a codebook that learns by moving averages must stay as old as the encoder it belongs to.
    Integer and boolean buffers are copied.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, count: int) -> None:
        """Takes in the weights after update number ``count`` (from 1).

        The result is the average whose weights, (1 - d) d^(count - i) for update i, are scaled to sum to one. So the
        first update is copied whole, and the initial weights, which nobody wants, have no part in it.
        """
        share = (1 - self.decay) / (1 - self.decay**count)
        averages, values = [], []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                averages.append(self.tensors[name])
                values.append(value)
            else:
                self.tensors[name].copy_(value)
        # All at once: on a GPU hundreds of small kernels would take longer than what they compute.
        torch._foreach_lerp_(averages, values, share)

    @contextmanager
    def inside(self, module: nn.Module) -> Iterator[None]:
        """The module computes with the averaged weights until the block ends; nothing is copied."""
        self._swap(module)
        try:
            yield
        finally:
            self._swap(module)

    def _swap(self, module: nn.Module) -> None:
        for name, value in module.state_dict(keep_vars=True).items():
            self.tensors[name], value.data = value.data, self.tensors[name]

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Takes over a saved average, which must have the same names and shapes."""
        for name, average in self.tensors.items():
            average.copy_(tensors[name])
