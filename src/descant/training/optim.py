"""Optimiser and learning-rate schedules from their configs, and optimiser state as named tensors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from descant.errors import CheckpointError, ConfigError


@dataclass(frozen=True, kw_only=True)
class Cosine:
    """Linear warm-up, then cosine decay to ``min_ratio`` of the peak at ``max_steps`` (MusicGen's schedule)."""

    warmup_steps: int = 4_000
    min_ratio: float = 0.0

    def __post_init__(self) -> None:
        _check_warmup(self.warmup_steps)
        if not 0 <= self.min_ratio <= 1:
            raise ConfigError(f"min_ratio={self.min_ratio:g}: a share of the peak rate, 0 to 1")

    def factor(self, step: int, max_steps: int) -> float:
        """The share of the peak learning rate that update number ``step`` (from 0) uses."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        progress = min(1.0, (step - self.warmup_steps) / max(1, max_steps - self.warmup_steps))
        return self.min_ratio + (1 - self.min_ratio) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True, kw_only=True)
class PlateauLinear:
    """Linear warm-up, constant peak rate, then linear decay to zero over the last part of the run (arXiv 2502.15938).

    Until the decay starts, the rate does not depend on ``max_steps``: a run resumed from a checkpoint before that point
    can be given another length, and is then identical to a run that had this length from the start.
    """

    warmup_steps: int = 200
    decay_fraction: float = 0.5

    def __post_init__(self) -> None:
        _check_warmup(self.warmup_steps)
        if not 0 <= self.decay_fraction <= 1:
            raise ConfigError(f"decay_fraction={self.decay_fraction:g}: a share of the run, 0 to 1")

    def factor(self, step: int, max_steps: int) -> float:
        """The share of the peak learning rate that update number ``step`` (from 0) uses."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        decay_steps = self.decay_fraction * max_steps
        left = max(0, max_steps - step)
        return warm * (min(1.0, left / decay_steps) if decay_steps else 1.0)


def _check_warmup(warmup_steps: int) -> None:
    if warmup_steps < 0:
        raise ConfigError(f"warmup_steps={warmup_steps}: must be 0 or more")


Schedule: TypeAlias = Cosine | PlateauLinear


@dataclass(frozen=True, kw_only=True)
class AdamWConfig:
    """AdamW and its peak learning rate. Norms, biases, magnitudes and embeddings are not decayed."""

    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf:
            raise ConfigError(f"lr={self.lr:g}: must be positive")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas={self.betas}: each must be at least 0 and below 1")
        if not self.eps > 0:
            raise ConfigError(f"eps={self.eps:g}: must be positive")
        if not self.weight_decay >= 0:
            raise ConfigError(f"weight_decay={self.weight_decay:g}: must be 0 or more")


def make_optimizer(
    config: AdamWConfig, parameters: Mapping[str, nn.Parameter], module: nn.Module
) -> torch.optim.Optimizer:
    """AdamW over the named parameters of ``module``, fused where the device supports it."""
    embeddings = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    decayed: list[nn.Parameter] = []
    not_decayed: list[nn.Parameter] = []
    for parameter in parameters.values():
        # squeeze: magnitudes of a weight-normed convolution are [C, 1, 1], and decay would shrink the layer to zero.
        is_matrix = parameter.squeeze().ndim > 1 and id(parameter) not in embeddings
        (decayed if is_matrix else not_decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": not_decayed, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=all(parameter.device.type in ("cpu", "cuda") for parameter in parameters.values()),
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of the next update."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimiser's state as ``name::slot`` tensors, for example ``heads.0.weight::exp_avg``."""
    return {
        f"{name}::{slot}": torch.as_tensor(value)
        for name, parameter in parameters.items()
        for slot, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Restores what ``optimizer_tensors`` returned.

    Raises:
        CheckpointError: a tensor belongs to no parameter, or its shape differs from its parameter's.
    """
    slots: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, slot = key.rsplit("::", 1)
        if name not in parameters:
            raise CheckpointError(f"optimiser state for {name!r}, which is not trained here")
        if slot != "step" and tensor.shape != parameters[name].shape:
            raise CheckpointError(f"optimiser state {key!r} is {tuple(tensor.shape)}: not its parameter's shape")
        slots.setdefault(name, {})[slot] = tensor
    names = {id(parameter): name for name, parameter in parameters.items()}
    order = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    state = {index: slots[name] for index, name in enumerate(order) if name in slots}
    # load_state_dict rather than assignment: it puts the step counter on the device where the optimiser needs it.
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
