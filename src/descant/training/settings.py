"""How long a run is, how it learns, and what it keeps: the trainer's config."""

from dataclasses import dataclass, field
from typing import Literal

from descant.errors import ConfigError
from descant.training.optim import AdamWConfig, PlateauLinear, Schedule

MAY_CHANGE = frozenset(
    f"trainer.{name}"
    for name in (
        "max_steps", "max_minutes", "log_every", "save_every", "validate_every", "keep_last", "keep_steps",
        "num_threads", "device", "max_skips", "max_loss_growth",
    )
)  # fmt: skip
"""What a resumed run may change: its budget and its habits, not its mathematics."""


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How long, how fast, and what to keep.

    Args:
        accumulate: batches per update; their gradients are averaged.
        clip_norm: the largest norm of a phase's gradient; longer ones are shortened to it. None leaves them.
        ema_decay: of the averaged weights, per step. None averages nothing, and the last weights are the result.
        precision: "bf16" computes the forward pass in torch.autocast; weights stay float32.
        max_minutes: stop then, with a validation and a checkpoint to resume from.
        keep_last: how many checkpoints stay on the disk, besides those of ``keep_steps``.
        keep_steps: steps at which to save and never delete, for example just before the learning rate falls.
        max_skips: so many phases in a row with a loss or gradient that is not finite, or a loss that has exploded, end
            the run.
        max_loss_growth: a loss has exploded when it is this many times what it was in the first step (or 1, if that was
            less). None lets it grow.
        num_threads: of torch on the CPU; None leaves them. Another number may change the last bits.
    """

    max_steps: int
    seed: int = 0
    accumulate: int = 1
    clip_norm: float | None = 1.0
    optimizer: AdamWConfig = field(default_factory=AdamWConfig)
    schedule: Schedule = field(default_factory=PlateauLinear)
    ema_decay: float | None = 0.999
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = "auto"
    num_threads: int | None = None
    max_minutes: float | None = None
    log_every: int = 10
    save_every: int = 500
    keep_last: int = 2
    keep_steps: tuple[int, ...] = ()
    validate_every: int | None = 500
    max_skips: int = 20
    max_loss_growth: float | None = 1_000.0

    def __post_init__(self) -> None:
        for name in ("max_steps", "accumulate", "log_every", "save_every", "keep_last", "max_skips"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("clip_norm", "num_threads", "max_minutes", "validate_every", "max_loss_growth"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}={value}: must be positive, or none to switch it off")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay={self.ema_decay:g}: must be at least 0 and below 1")
