"""A task that trains in microseconds but has dropout, buffers that learn and two phases, as real tasks do."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from descant import processes
from descant.training.checkpoint import StoredGroup, newest_checkpoint
from descant.training.logs import read_log
from descant.training.optim import AdamWConfig, PlateauLinear
from descant.training.task import Metrics, StepContext, Task
from descant.training.trainer import Trainer
from descant.training.trainer_config import TrainerConfig


class Student(nn.Module):
    mean: Tensor

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.up = nn.Linear(4, 8)
        self.norm = nn.LayerNorm(8)
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(8, 4)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, values: Tensor) -> Tensor:
        if self.training:
            # As codebooks do, it learns from the batches of all processes.
            self.mean.lerp_(processes.sum_of_all(values.detach().mean(dim=0)) / processes.count(), 0.1)
        return self.down(self.dropout(self.norm(self.up(values - self.mean))))


class ToyTask(Task):
    """Copies four numbers; with ``has_critic`` a second phase learns to distinguish copies from originals."""

    def __init__(self, *, has_critic: bool = False, dropout: float = 0.3) -> None:
        torch.manual_seed(0)
        self.model = Student(dropout)
        self.critic = nn.Linear(4, 1)
        self.trained = nn.ModuleDict({"model": self.model})
        if has_critic:
            self.trained["critic"] = self.critic
        self.has_critic = has_critic
        self.validations = 0
        self.criterion = "error"

    def parameters(self) -> dict[str, dict[str, nn.Parameter]]:
        phases = {"student": dict(self.model.named_parameters(prefix="model"))}
        if self.has_critic:
            phases["critic"] = dict(self.critic.named_parameters(prefix="critic"))
        return phases

    def loss(self, phase: str, batch: Any, context: StepContext) -> tuple[Tensor, Metrics]:
        carried, generator = context.carried, context.generator
        if phase == "critic":
            loss = (self.critic(carried["copy"]) ** 2).mean() + ((self.critic(batch) - 1) ** 2).mean()
            return loss, {"critic_loss": loss}
        noise = torch.randn(batch.shape, generator=generator) * 0.1 * self.model.dropout.p
        copy = self.model(batch + noise)
        carried["copy"] = copy.detach()
        loss = (copy - batch).square().mean()
        metrics: Metrics = {"loss": loss, "audio_s": float(len(batch))}
        if self.has_critic:
            loss = loss + 0.1 * ((self.critic(copy) - 1) ** 2).mean()
        return loss, metrics

    def validate(self) -> dict[str, float]:
        self.validations += 1
        assert not self.model.training
        return {"error": float((self.model(torch.ones(1, 4)) - 1).abs().mean())}

    def identity(self) -> dict[str, Any]:
        return {"has_critic": self.has_critic}


@dataclass(frozen=True)
class ToyBatches:
    """Random numbers that depend only on the step; the batches of the steps in ``bad`` are NaN."""

    rows: int = 6
    bad: tuple[int, ...] = ()

    def batch(self, step: int) -> Tensor:
        values = torch.randn(self.rows, 4, generator=torch.Generator().manual_seed(step))
        return values * float("nan") if step in self.bad else values


class Slow:
    """Batches that take 10 ms each, so that a process can be killed in the middle of its run."""

    changes: ClassVar = {"has_critic": True, "max_steps": 60, "save_every": 2, "validate_every": 10}

    def batch(self, step: int) -> Tensor:
        time.sleep(0.01)
        return ToyBatches().batch(step)


class Killed(Exception):
    """Stands in for a process that is killed."""


class Toy:
    """Helpers of the tests in this folder, for the toy task and for other trainers."""

    Task = ToyTask
    Batches = ToyBatches
    Slow = Slow

    @staticmethod
    def config(**changes: Any) -> TrainerConfig:
        base: dict[str, Any] = {
            "max_steps": 20,
            "optimizer": AdamWConfig(lr=1e-2),
            "schedule": PlateauLinear(warmup_steps=3),
            "ema_decay": 0.9,
            "device": "cpu",
            "log_every": 3,
            "save_every": 5,
            "validate_every": 7,
        }
        return TrainerConfig(**{**base, **changes})

    @staticmethod
    def trainer(
        folder: Path, *, has_critic: bool = False, dropout: float = 0.3, batches: Any = None, **changes: Any
    ) -> Trainer:
        """A trainer of the toy task in a folder; ``changes`` replace fields of the trainer's config."""
        task = ToyTask(has_critic=has_critic, dropout=dropout)
        return Trainer(task, batches or ToyBatches(), Toy.config(**changes), folder)

    @staticmethod
    def stop_at(trainer: Trainer, step: int) -> None:
        """Starts or resumes a run and kills it, without a save, when that step's batch is requested."""

        source = trainer.batches

        class Batches:
            def batch(self, number: int) -> Tensor:
                if number >= step * trainer.config.accumulate:
                    raise Killed
                return source.batch(number)

        trainer.batches = Batches()
        with pytest.raises(Killed):
            trainer.run(resume=trainer.log.file.exists())

    @staticmethod
    def weights(trainer: Trainer) -> dict[str, Tensor]:
        """A copy of all tensors that the trainer would save, under flat names."""
        return {
            f"{group}/{name}": tensor.clone()
            for group, members in trainer.updater.tensors().items()
            for name, tensor in members.items()
        }

    @staticmethod
    def final(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """The state of a run's newest checkpoint, and its tensors under flat names; none may be damaged."""
        found = newest_checkpoint(folder, note=pytest.fail)
        assert found is not None
        newest, state = found
        groups = sorted({name.split(".")[0] for name in state["files"]})
        return state, {
            f"{group}/{name}": tensor for group in groups for name, tensor in StoredGroup(newest, group).items()
        }

    @staticmethod
    def steps_logged(folder: Path, kind: str) -> list[int]:
        return [line["step"] for line in read_log(folder / "log.jsonl") if line["kind"] == kind]

    @staticmethod
    def same_bits(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
        assert ours.keys() == theirs.keys()
        return all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def toy() -> Toy:
    return Toy()
