"""The precision of a run's forward pass, and the loss scale that float16 needs.

Float16 has no numbers below 6e-8, and many gradients are smaller. So the loss is multiplied before the backward pass,
and gradients are divided after it (arXiv 1710.03740). The scale is found by trial: it is halved whenever one is not
finite, and doubled after many updates in which all were.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from descant.training.cpu_attention import UnfusedAttention
from descant.training.sharding import local
from descant.training.trainer_config import ComputedPrecision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FIRST_SCALE = 2.0**16
LARGEST_SCALE = 2.0**24
GROWS_AFTER = 2_000
"""Updates in a row; as in PyTorch's ``GradScaler``, which would decide for each process by itself."""


@contextmanager
def forward_precision(precision: ComputedPrecision, device: torch.device) -> Iterator[None]:
    """The precision of a run's forward pass; on a CPU with the attention that is faster in bfloat16."""
    attention = UnfusedAttention() if precision == "bf16" and device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32"), attention:
        yield


class LossScale:
    """The factor of a phase's loss in the backward pass: powers of two in float16, and 1 otherwise."""

    def __init__(self, precision: ComputedPrecision) -> None:
        self.is_used = precision == "fp16"
        self.value = FIRST_SCALE if self.is_used else 1.0
        self.good_in_a_row = 0

    def unscale(self, parameters: Iterable[nn.Parameter]) -> None:
        """Divides the gradients by the factor, in place."""
        gradients = [local(parameter.grad) for parameter in parameters if parameter.grad is not None]
        if self.is_used and gradients:
            torch._foreach_div_(gradients, self.value)

    def adapt(self, is_good: bool) -> None:
        """Prepares the next update, after one whose loss and gradient were finite or not."""
        self.good_in_a_row = self.good_in_a_row + 1 if is_good else 0
        if self.is_used and not is_good:
            self.value = max(1.0, self.value / 2)
        elif self.is_used and self.good_in_a_row % GROWS_AFTER == 0:
            self.value = min(LARGEST_SCALE, self.value * 2)
