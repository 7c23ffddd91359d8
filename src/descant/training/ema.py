"""Exponential moving average of the weights, which is what gets validated and exported."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from descant.training.sharding import like, local


class AveragedWeights:
    """An exponential moving average of a module's parameters and buffers.

    Buffers are averaged too: codebooks that learn by moving averages must lag as far behind as the encoder they belong
    to. Integer and boolean buffers and frozen parameters are copied; what does not change keeps its bits, for a hash
    over them says that codes are still those of this codec.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, count: int) -> None:
        """Adds the weights after update number ``count`` (from 1) to the average.

        Update i counts with weight (1 - d) d^(count - i), normalised so that all weights sum to one (bias correction).
        So the first update is copied, and the initial weights do not contribute.
        """
        share = (1 - self.decay) / (1 - self.decay**count)
        averages, values = [], []
        for name, value in module.state_dict(keep_vars=True).items():
            if value.is_floating_point() and value.requires_grad:
                averages.append(local(self.tensors[name]))
                values.append(local(value))
            elif value.is_floating_point() and not isinstance(value, nn.Parameter):
                average, buffer = local(self.tensors[name]), local(value)
                # Between equal values lerp_ turns -0.0 into 0.0.
                average.copy_(torch.where(average == buffer, buffer, average.lerp(buffer, share)))
            else:
                self.tensors[name].copy_(value)
        # One fused call: on a GPU, launching hundreds of small kernels would take longer than the arithmetic.
        if averages:
            torch._foreach_lerp_(averages, values, share)

    @contextmanager
    def applied_to(self, module: nn.Module) -> Iterator[None]:
        """Inside the block the module uses the averaged weights; tensors are swapped, and copied only where split."""
        self._swap(module)
        try:
            yield
        finally:
            self._swap(module)

    @torch.no_grad()
    def _swap(self, module: nn.Module) -> None:
        for name, value in module.state_dict(keep_vars=True).items():
            if isinstance(value, DTensor):
                # FSDP gathers from the memory that it knows.
                own, average = value.to_local(), self.tensors[name].to_local()
                current = own.clone()
                own.copy_(average)
                average.copy_(current)
            else:
                self.tensors[name], value.data = value.data, self.tensors[name]

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restores a saved average, which must have the same names and shapes."""
        for name, average in self.tensors.items():
            average.copy_(like(tensors[name], average))
