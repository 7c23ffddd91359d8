"""One training step: every phase of a task on the same batches, with its optimisers and averaged weights."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from descant.errors import ConfigError, TrainingDiverged
from descant.training.distributed import Share, World
from descant.training.ema import AveragedWeights
from descant.training.machine import resolved_precision
from descant.training.optim import load_optimizer_tensors, make_optimizer, optimizer_tensors, set_learning_rate
from descant.training.precision import LossScale, forward_precision
from descant.training.sharding import average_gradients, clip_gradients, gradient_norm, split_state, spread
from descant.training.task import Metrics, StepContext, Task
from descant.training.trainer_config import TrainerConfig


class Updater:
    """Applies training steps to a task that is already on its device.

    A phase whose loss or gradient is not finite in any process changes nothing and is counted in ``skipped``.
    """

    def __init__(self, task: Task, config: TrainerConfig, device: torch.device) -> None:
        # A model loaded from a folder is in eval mode, without dropout and with frozen codebooks.
        task.trained.train()
        self.task = task
        self.config = config
        self.device = device
        self.precision = resolved_precision(config.precision, device)
        self.world = World.here()
        self.share = Share.here(config.accumulate)
        if config.recompute:
            task.recompute()
        if config.compile:
            task.compile()
        if self.precision == "fp16" and task.own_gradients is not None:
            raise ConfigError(
                f'trainer.precision="fp16" with {task.own_gradients}, which differentiates losses before they are '
                f"scaled, so small gradients would be lost: train in bf16 or fp32, or change the other setting"
            )
        spread(task.trained, task.units(), config.mesh, device, config.process_timeout_s)
        self.parameters = task.parameters()
        self.optimizers = {
            phase: make_optimizer(config.optimizer, parameters, task.trained)
            for phase, parameters in self.parameters.items()
        }
        self.average = None if config.ema_decay is None else AveragedWeights(task.model, config.ema_decay)
        self.scales = {phase: LossScale(self.precision) for phase in self.parameters}
        self.skipped = 0
        self.skips_in_a_row = dict.fromkeys(self.parameters, 0)
        self.explosions_in_a_row = dict.fromkeys(self.parameters, 0)
        self.first_losses: dict[str, float] = {}
        self.own_s = 0.0
        """Seconds spent on the batches of this process; with split weights it includes waiting for the others."""

    def learning_rate(self, step: int) -> float:
        """The learning rate of update number ``step`` (from 0)."""
        return self.config.optimizer.lr * self.config.schedule.factor(step, self.config.max_steps)

    def update(self, step: int, batches: list[Any]) -> list[Metrics]:
        """Runs the phases of update number ``step`` (from 0) and returns their metrics.

        Args:
            batches: those of this process (``Share``).

        Raises:
            TrainingDiverged: for ``max_skips`` steps in a row a phase was skipped, or its loss had exploded.
        """
        carried: list[dict[str, Tensor]] = [{} for _ in batches]
        gathered: list[Metrics] = []
        for phase in self.task.phases(step):
            buffers = {name: buffer.clone() for name, buffer in self.task.trained.named_buffers()}
            with self._only(phase):
                losses, metrics = self._backward(step, phase, batches, carried)
            average_gradients(self.parameters[phase].values())
            self.scales[phase].unscale(self.parameters[phase].values())
            norm = gradient_norm(self.parameters[phase].values())
            loss = self.world.mean(torch.stack(losses).mean())
            is_good = bool(torch.isfinite(norm) & torch.isfinite(loss))
            self.scales[phase].adapt(is_good)
            if is_good:
                self._apply(step, phase, norm)
                self._check_growth(step, phase, float(loss))
                gathered += [*metrics, {f"loss_{phase}": loss, f"norm_{phase}": norm}]
            else:
                self._skip(step, phase, buffers)
            self.optimizers[phase].zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.task.model, count=step + 1)
        return gathered

    @property
    def should_roll_back(self) -> bool:
        """Whether a phase has now failed so many times in a row that the weights themselves may be at fault."""
        in_a_row = (*self.skips_in_a_row.values(), *self.explosions_in_a_row.values())
        return self.config.rollback_after in in_a_row

    @property
    def is_failing(self) -> bool:
        """Whether a phase was skipped, or its loss had exploded, in the last step."""
        return self.has_exploded or any(self.skips_in_a_row.values())

    @property
    def has_exploded(self) -> bool:
        """Whether a loss exceeded its bound in the last step."""
        return any(self.explosions_in_a_row.values())

    def counters(self) -> dict[str, Any]:
        """What a checkpoint must hold in addition to tensors, as plain data."""
        return {
            "skipped": self.skipped,
            "skips_in_a_row": dict(self.skips_in_a_row),
            "explosions_in_a_row": dict(self.explosions_in_a_row),
            "first_losses": dict(self.first_losses),
            "loss_scales": {phase: (one.value, one.good_in_a_row) for phase, one in self.scales.items()},
        }

    def load_counters(self, state: Mapping[str, Any]) -> None:
        """Restores what ``counters`` returned."""
        self.skipped, self.skips_in_a_row = state["skipped"], state["skips_in_a_row"]
        self.explosions_in_a_row, self.first_losses = state["explosions_in_a_row"], state["first_losses"]
        # Checkpoints from before there was a scale have none.
        for phase, (value, good_in_a_row) in state.get("loss_scales", {}).items():
            self.scales[phase].value, self.scales[phase].good_in_a_row = value, good_in_a_row

    @contextmanager
    def averaged_model(self) -> Iterator[nn.Module]:
        """The task's model in eval mode with the averaged weights, or the current ones if nothing is averaged."""
        modes = {module: module.training for module in self.task.trained.modules()}
        self.task.trained.eval()
        try:
            with nullcontext() if self.average is None else self.average.applied_to(self.task.model), torch.no_grad():
                yield self.task.model
        finally:
            for module, mode in modes.items():
                module.training = mode

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """All tensors that a checkpoint must hold, in named groups."""
        groups = {"trained": dict(self.task.trained.state_dict())}
        for phase, optimizer in self.optimizers.items():
            groups[f"optimizer-{phase}"] = optimizer_tensors(optimizer, self.parameters[phase])
        if self.average is not None:
            groups["average"] = self.average.tensors
        return groups

    def load(self, read_group: Callable[[str], Mapping[str, Tensor]]) -> None:
        """Restores what ``tensors`` returned."""
        self.task.trained.load_state_dict(split_state(read_group("trained"), self.task.trained))
        for phase, optimizer in self.optimizers.items():
            load_optimizer_tensors(optimizer, self.parameters[phase], read_group(f"optimizer-{phase}"))
        if self.average is not None:
            self.average.load(read_group("average"))

    @contextmanager
    def _only(self, phase: str) -> Iterator[None]:
        """Only this phase's parameters accumulate gradients, though gradients may flow through all of them."""
        others = [
            parameter
            for name, parameters in self.parameters.items()
            for parameter in parameters.values()
            if name != phase
        ]
        for parameter in others:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in others:
                parameter.requires_grad_(True)

    def _backward(
        self, step: int, phase: str, batches: list[Any], carried: list[dict[str, Tensor]]
    ) -> tuple[list[Tensor], list[Metrics]]:
        losses, gathered = [], []
        began_s = time.monotonic()
        for place, batch, of_batch in zip(self.share.positions(step), batches, carried, strict=True):
            seed = _seed(self.config.seed, step, place, phase)
            torch.manual_seed(seed)
            context = StepContext(step, torch.Generator().manual_seed(seed), of_batch)
            with forward_precision(self.precision, self.device):
                loss, metrics = self.task.loss(phase, batch, context)
            (loss * self.scales[phase].value / len(batches)).backward()
            losses.append(loss.detach())
            gathered.append(metrics)
        self.own_s += time.monotonic() - began_s
        return losses, gathered

    def _apply(self, step: int, phase: str, norm: Tensor) -> None:
        if self.config.clip_norm is not None:
            clip_gradients(self.parameters[phase].values(), self.config.clip_norm, norm)
        set_learning_rate(self.optimizers[phase], self.learning_rate(step))
        self.optimizers[phase].step()
        self.skips_in_a_row[phase] = 0

    def _skip(self, step: int, phase: str, buffers: dict[str, Tensor]) -> None:
        # Buffers that learn in the forward pass, such as codebooks, have already been updated with the bad batch.
        for name, buffer in self.task.trained.named_buffers():
            buffer.copy_(buffers[name])
        self.skipped += 1
        self.skips_in_a_row[phase] += 1
        if self.skips_in_a_row[phase] >= self.config.max_skips:
            raise TrainingDiverged(
                f"step {step}: the {phase} phase had no finite loss and gradient {self.config.max_skips} times in "
                f"a row. {self._advice()}"
            )

    def _check_growth(self, step: int, phase: str, loss: float) -> None:
        """Ends a run whose loss is finite but has grown beyond its bound: such a run does not recover."""
        first = self.first_losses.setdefault(phase, loss)
        growth = self.config.max_loss_growth
        if growth is None or loss <= growth * max(1.0, abs(first)):
            self.explosions_in_a_row[phase] = 0
            return
        self.explosions_in_a_row[phase] += 1
        if self.explosions_in_a_row[phase] >= self.config.max_skips:
            raise TrainingDiverged(
                f"step {step}: the loss of the {phase} phase is {loss:.3g} and was {first:.3g} in the first step; it "
                f"has exploded {self.config.max_skips} times in a row. {self._advice()}"
            )

    def _advice(self) -> str:
        return (
            f"Start again with a learning rate below trainer.optimizer.lr={self.config.optimizer.lr:g}, for example a "
            f"tenth of it, with more warm-up steps, or look at the data"
        )


def _seed(seed: int, step: int, place: int, phase: str) -> int:
    text = f"{seed}/{step}/{place}/{phase}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
