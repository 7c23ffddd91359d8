"""The trainer's config: how long a run is, how it learns and which checkpoints it keeps."""

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from descant.errors import ConfigError
from descant.threads import MAX_THREADS
from descant.training.optim import AdamWConfig, PlateauLinear, Schedule
from descant.training.sharding import Mesh

MAX_TIMEOUT_S = 86_400

RESUMABLE = frozenset(
    f"trainer.{name}"
    for name in (
        "max_steps", "max_minutes", "log_every", "save_every", "validate_every", "keep_last", "keep_steps",
        "num_threads", "device", "max_skips", "rollback_after", "max_loss_growth", "keep_best", "tensorboard", "export",
        "recompute", "compile", "mesh", "process_timeout_s",
    )
)  # fmt: skip
"""The fields that a resumed run may change: budget, logging, checkpoints, device and limits, not the method."""


ComputedPrecision: TypeAlias = Literal["fp32", "bf16", "fp16"]
TrainingPrecision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """The length of a run, its optimizer and schedule, and when it logs, validates and saves.

    Args:
        accumulate: batches per update, of all processes together; their gradients are averaged.
        clip_norm: maximum norm of a phase's gradient; larger gradients are scaled down to it. None disables clipping.
        ema_decay: decay per step of the averaged weights. With None the last weights are the result.
        precision: "bf16" and "fp16" run the forward pass under torch.autocast; weights stay float32. "fp16", for cards
            without bfloat16, scales the loss (``precision.py``), which a codec's balancer does not allow. "auto" is
            "bf16" on devices that compute with it, and "fp32" on others.
        max_minutes: time limit. The run then validates and saves a checkpoint that can be resumed.
        keep_last: number of checkpoints kept on disk, not counting those of ``keep_steps``.
        keep_steps: steps at which a checkpoint is saved and never deleted, for example just before the decay starts.
        keep_best: also keeps the checkpoint that validated best (``Task.criterion``), of those that were validated.
        max_skips: the run ends after this many consecutive phases whose loss or gradient is not finite, or whose loss
            has exploded.
        rollback_after: after this many of them the weights of the last good checkpoint come back, while the run goes on
            with the next batches. None never goes back.
        max_loss_growth: a loss has exploded when it exceeds this multiple of the first step's loss (of 1 if that was
            smaller). None disables the check.
        num_threads: torch's CPU threads; None keeps the current number. Changing it may change the last bits.
        tensorboard: also writes ``tensorboard`` in the run's folder (extra ``tensorboard``).
        recompute: activations are computed again in the backward pass: less memory, a third more time.
        compile: PyTorch compiles the blocks of a language model: faster updates after slow first ones, and other last
            bits; needs a compiler on the machine (``compile.py``).
        mesh: what each of several processes (torchrun) holds: ``replicate`` all weights; ``shard`` a part of each, of
            its optimiser state and average; ``shard-in-node`` the same, split inside each machine only.
        process_timeout_s: processes that wait longer for another one in an update end.
        export: instead of training, the result is the newest checkpoint of the run in the folder, or its best.
    """

    max_steps: int
    seed: int = 0
    accumulate: int = 1
    clip_norm: float | None = 1.0
    optimizer: AdamWConfig = field(default_factory=AdamWConfig)
    schedule: Schedule = field(default_factory=PlateauLinear)
    ema_decay: float | None = 0.999
    precision: TrainingPrecision = "fp32"
    device: str = "auto"
    num_threads: int | None = None
    max_minutes: float | None = None
    log_every: int = 10
    save_every: int = 500
    keep_last: int = 2
    keep_steps: tuple[int, ...] = ()
    keep_best: bool = True
    validate_every: int | None = 500
    max_skips: int = 20
    rollback_after: int | None = 10
    max_loss_growth: float | None = 1_000.0
    tensorboard: bool = False
    recompute: bool = False
    compile: bool = False
    mesh: Mesh = "replicate"
    process_timeout_s: float = 60.0
    export: Literal["newest", "best"] | None = None

    def __post_init__(self) -> None:
        for name in ("max_steps", "accumulate", "log_every", "save_every", "keep_last", "max_skips"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name}={getattr(self, name)}: must be at least 1")
        for name in ("clip_norm", "num_threads", "max_minutes", "validate_every", "rollback_after", "max_loss_growth"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name}={value}: must be positive, or none to switch it off")
        if self.num_threads is not None and self.num_threads > MAX_THREADS:
            raise ConfigError(f"num_threads={self.num_threads}: at most {MAX_THREADS}")
        if not 1 <= self.process_timeout_s <= MAX_TIMEOUT_S:
            raise ConfigError(f"process_timeout_s={self.process_timeout_s:g}: allowed are 1 to {MAX_TIMEOUT_S} s")
        if not -(2**63) <= self.seed < 2**63:
            raise ConfigError(f"seed={self.seed}: must be an integer of 64 bits")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ConfigError(f"ema_decay={self.ema_decay:g}: must be at least 0 and below 1")
