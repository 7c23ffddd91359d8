"""Optimiser and learning-rate schedules from their configs, and optimiser state as named tensors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from descant.errors import CheckpointError, ConfigError, MissingExtra
from descant.training.sharding import like


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

GROUP = "group."
_SETTINGS = frozenset({"lr", "eps", "weight_decay"})
"""Numbers of a group that come from the config and not from the run."""
_DTYPES = {int: torch.int64, float: torch.float64}
"""Of plain numbers in a checkpoint: they come back unchanged."""


@dataclass(frozen=True, kw_only=True)
class AdamWConfig:
    """AdamW and its peak learning rate. Norms, biases, magnitudes and embeddings are not decayed.

    Args:
        adaptation: estimates the learning rate during the run, of which ``lr`` is then a multiple, usually 1:
            D-Adaptation (arXiv 2301.07733), as in the paper's 300M model, or Prodigy (arXiv 2306.06101). Needs
            pytorch-optimizer.
    """

    lr: float = 3e-4
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 0.1
    adaptation: Literal["d-adaptation", "prodigy"] | None = None

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
    """The optimiser over the named parameters of ``module``, fused where the device supports it.

    Raises:
        MissingExtra: the config adapts the learning rate, and pytorch-optimizer is not installed.
    """
    embeddings = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    # Weights that are split over processes form groups of their own: one operation takes one kind of tensor.
    kinds: dict[tuple[bool, bool], list[nn.Parameter]] = {
        (is_decayed, is_split): [] for is_decayed in (True, False) for is_split in (False, True)
    }
    for parameter in parameters.values():
        # Magnitudes of a weight-normed convolution are [C, 1, 1], and decay would shrink the layer to zero.
        is_matrix = sum(size != 1 for size in parameter.shape) > 1 and id(parameter) not in embeddings
        kinds[is_matrix, isinstance(parameter, DTensor)].append(parameter)
    groups = [
        {"params": members, "weight_decay": config.weight_decay if is_decayed else 0.0}
        for (is_decayed, _), members in kinds.items()
        if members
    ]
    if config.adaptation is not None:
        if any(isinstance(parameter, DTensor) for parameter in parameters.values()):
            raise ConfigError(
                f"optimizer.adaptation={config.adaptation!r} needs whole weights: set trainer.mesh to replicate, or "
                f"adaptation to null and lr to a learning rate"
            )
        return _adaptive(config, groups)
    return torch.optim.AdamW(
        groups,
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=all(parameter.device.type in ("cpu", "cuda") for parameter in parameters.values()),
    )


def _adaptive(config: AdamWConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay and an estimated learning rate."""
    try:
        import pytorch_optimizer
    except ImportError as error:
        raise MissingExtra(
            f'adaptation={config.adaptation!r} needs pytorch-optimizer: pip install "descant[adaptation]", '
            "or set adaptation to null and lr to a learning rate"
        ) from error
    name = "DAdaptAdam" if config.adaptation == "d-adaptation" else "Prodigy"
    optimizer: torch.optim.Optimizer = getattr(pytorch_optimizer, name)(
        groups, lr=config.lr, betas=config.betas, eps=config.eps, weight_decouple=True
    )
    return optimizer


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of the next update."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimiser's state as ``name::slot`` tensors, for example ``heads.0.weight::exp_avg``.

    What an adaptive optimiser estimates for a whole group of parameters is named ``group.0::d``.
    """
    of_parameters = {
        f"{name}::{slot}": torch.as_tensor(value)
        for name, parameter in parameters.items()
        for slot, value in optimizer.state.get(parameter, {}).items()
    }
    if isinstance(optimizer, torch.optim.AdamW):
        return of_parameters
    return of_parameters | {
        # Cloned: groups share a tensor, and a file of tensors cannot.
        f"{GROUP}{index}::{slot}": value.clone()
        if isinstance(value, Tensor)
        else torch.tensor(value, dtype=_DTYPES[type(value)])
        for index, group in enumerate(optimizer.param_groups)
        for slot, value in group.items()
        if slot not in _SETTINGS and (isinstance(value, Tensor) or type(value) in _DTYPES)
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Restores what ``optimizer_tensors`` returned.

    Raises:
        CheckpointError: a tensor belongs to no parameter, or its shape differs from its parameter's.
    """
    slots: dict[str, dict[str, Tensor]] = {}
    groups: list[dict[str, Any]] = optimizer.state_dict()["param_groups"]
    for key, tensor in tensors.items():
        name, slot = key.rsplit("::", 1)
        if name.startswith(GROUP) and int(name.removeprefix(GROUP)) < len(groups):
            groups[int(name.removeprefix(GROUP))][slot] = _group_value(tensor, optimizer)
            continue
        if name not in parameters:
            raise CheckpointError(f"optimiser state for {name!r}, which is not trained here")
        if slot != "step" and tensor.shape != parameters[name].shape:
            raise CheckpointError(f"optimiser state {key!r} is {tuple(tensor.shape)}: not its parameter's shape")
        slots.setdefault(name, {})[slot] = tensor if slot == "step" else like(tensor, parameters[name])
    names = {id(parameter): name for name, parameter in parameters.items()}
    order = [names[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    state = {index: slots[name] for index, name in enumerate(order) if name in slots}
    # load_state_dict rather than assignment: it puts the step counter on the device where the optimiser needs it.
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _group_value(tensor: Tensor, optimizer: torch.optim.Optimizer) -> Any:
    """A number of a group: plain where it was plain, else on the device of the parameters."""
    return tensor.item() if tensor.ndim == 0 else tensor.to(optimizer.param_groups[0]["params"][0].device)
