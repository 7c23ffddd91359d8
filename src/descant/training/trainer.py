"""The training loop. It knows no model: a ``Task`` gives losses, a ``BatchSource`` gives batches.

What a step computes depends on the weights, the optimisers' memory, the seed and the step number, on nothing else. So a
run that was killed and resumed ends with the same bits as one that was left alone (same machine, same thread count).
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from descant.config import to_dict
from descant.errors import Cancelled, CheckpointError, ConfigError, TrainingDiverged
from descant.folder_lock import locked
from descant.training.checkpoint import (
    check_same_run,
    prune_checkpoints,
    read_tensors,
    save_checkpoint,
)
from descant.training.environment import select_device
from descant.training.interrupt import StopSignals
from descant.training.logs import RunLog, Window, clock, console_line, say
from descant.training.prefetch import Prefetcher
from descant.training.run_folder import LOG_NAME, checkpoint_to_resume
from descant.training.settings import MAY_CHANGE, TrainerConfig
from descant.training.task import BatchSource, Task
from descant.training.update import Updater


@dataclass(frozen=True)
class TrainResult:
    """Where a run got to. ``metrics`` are the last validation's; ``finished`` is False when the time was up."""

    step: int
    finished: bool
    metrics: dict[str, float]
    checkpoint: Path
    skipped: int


class Trainer:
    """One run of one task in one folder: ``step-*`` checkpoints and ``log.jsonl``.

    Args:
        facts: plain data that identifies the run besides the configs of trainer and task, above all the training data.
            A run is resumed only when it did not change.
    """

    def __init__(
        self,
        task: Task,
        batches: BatchSource,
        config: TrainerConfig,
        out_dir: Path,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self.task = task
        self.batches = batches
        self.config = config
        self.out_dir = Path(out_dir)
        self.device = select_device(config.device)
        task.to(self.device)
        self.updater = Updater(task, config, self.device)
        self.log = RunLog(self.out_dir / LOG_NAME)
        self.identity = {"trainer": to_dict(config), "task": task.identity(), "run": dict(facts or {})}
        self.step = 0
        self.metrics: dict[str, float] = {}
        self.last_good: Path | None = None

    def run(self, resume: bool = False) -> TrainResult:
        """Trains to ``max_steps`` or until the time is up, and leaves a checkpoint of the last step.

        With ``resume`` it goes on from the newest whole checkpoint of the folder. Weights whose loss has exploded are
        saved only as those of the last step.

        Raises:
            Cancelled: SIGINT or SIGTERM came; everything up to that step is saved, unless the loss had exploded.
            ConfigError: the folder holds a run and ``resume`` is off, it holds none and ``resume`` is on, or the run's
                config or facts changed.
            TrainingDiverged: ``max_skips`` phases in a row had no finite gradient or an exploded loss, or the time was
                up while the loss had exploded; the last good checkpoint is older.
            CheckpointError: the disk is full, all checkpoints are damaged, or one does not fit the model.
            InvalidRequest: another process trains in this folder.
            DataError: the folder cannot be written to.
        """
        with locked(self.out_dir):
            return self._run(resume)

    def _run(self, resume: bool) -> TrainResult:
        checkpoint = self._begin(resume)
        # The global generator is seeded anew in every step; the caller gets its own state back.
        devices = [self.device] if self.device.type == "cuda" else []
        with _threads(self.config.num_threads), torch.random.fork_rng(devices), StopSignals() as stop:
            if checkpoint is not None and self._validates_here() and not self.metrics:
                self._validate()
            try:
                checkpoint = self._loop(stop) or checkpoint
            except TrainingDiverged as error:
                raise TrainingDiverged(f"{error}; the last good checkpoint: {self._good()}") from error
        assert checkpoint is not None, "a run ends with a save, or began at its end"
        is_finished = self.step == self.config.max_steps
        return TrainResult(self.step, is_finished, self.metrics, checkpoint, self.updater.skipped)

    def averaged_model(self) -> AbstractContextManager[nn.Module]:
        """The task's model with the averaged weights, or the plain ones where nothing is averaged, in eval mode."""
        return self.updater.averaged_model()

    def _loop(self, stop: StopSignals) -> Path | None:
        config, first, began = self.config, self.step, time.monotonic()
        if first < config.max_steps:
            say(f"training {config.max_steps - first} steps on {self.device}, a checkpoint every {config.save_every}")
        window = Window()
        checkpoint = None
        numbers = range(first * config.accumulate, config.max_steps * config.accumulate)
        with Prefetcher(self.batches, numbers) as prefetcher:
            while self.step < config.max_steps:
                batches = [prefetcher.next_batch() for _ in range(config.accumulate)]
                for metrics in self.updater.update(self.step, batches):
                    window.add(metrics)
                self.step += 1
                elapsed_s = time.monotonic() - began
                is_out_of_time = config.max_minutes is not None and elapsed_s > 60 * config.max_minutes
                if self.step == first + 1:
                    say(self._forecast(elapsed_s, config.max_steps - first))
                if self._logs_here():
                    self._write_log(window, left_s=elapsed_s / (self.step - first) * (config.max_steps - self.step))
                if self._saves_here(is_last=is_out_of_time or stop.asked):
                    # Saved before it is validated: a fault in the validation must not cost the weights.
                    checkpoint = self._save()
                if stop.asked:
                    raise Cancelled(self._stopped())
                if is_out_of_time and self.updater.has_exploded and self.step < config.max_steps:
                    raise TrainingDiverged(f"step {self.step}: the time is up, and the loss has exploded: not saved")
                if self._validates_here() or is_out_of_time:
                    self._validate()
                if is_out_of_time:
                    break
        return checkpoint

    def _logs_here(self) -> bool:
        return self.step % self.config.log_every == 0 or self.step == self.config.max_steps

    def _saves_here(self, is_last: bool) -> bool:
        is_due = is_last or self.step % self.config.save_every == 0 or self.step in self.config.keep_steps
        # The newest checkpoint is what a resumed run starts from: none is made of weights that are past saving.
        return (is_due and not self.updater.has_exploded) or self.step == self.config.max_steps

    def _stopped(self) -> str:
        """What to say of a run that was stopped by a signal."""
        if self.updater.has_exploded and self.step < self.config.max_steps:
            return (
                f"stopped at step {self.step}, where the loss had exploded: that is not saved; the last good "
                f"checkpoint: {self._good()}; --resume goes on from there"
            )
        return (
            f"stopped at step {self.step}, saved in {self.out_dir / f'step-{self.step:08d}'}; --resume goes on, and "
            f"--resume --set trainer.max_steps={self.step} writes the model as it is now"
        )

    def _good(self) -> str:
        return "none was saved before" if self.last_good is None else str(self.last_good)

    def _forecast(self, step_s: float, num_steps: int) -> str:
        text = (
            f"step {self.step}/{self.config.max_steps}  took {step_s:.2g} s: about {clock(step_s * num_steps)} in all"
        )
        minutes = self.config.max_minutes
        return text if minutes is None else f"{text}, at most {clock(60 * minutes)}"

    def _validates_here(self) -> bool:
        every = self.config.validate_every
        return self.step == self.config.max_steps or (every is not None and self.step % every == 0)

    def _write_log(self, window: Window, left_s: float) -> None:
        values = {
            **window.read(),
            "lr": self.updater.learning_rate(self.step - 1),
            "skipped": float(self.updater.skipped),
        }
        self.log.write(self.step, "train", values)
        say(console_line(self.step, self.config.max_steps, values, left_s))

    def _validate(self) -> None:
        with self.averaged_model():
            self.metrics = self.task.validate()
        self.log.write(self.step, "validation", self.metrics)
        say("valid " + console_line(self.step, self.config.max_steps, self.metrics))

    def _save(self) -> Path:
        state = {"run": self.identity, **self.updater.counters()}
        folder = save_checkpoint(self.out_dir, self.step, self.updater.tensors(), state)
        if not self.updater.has_exploded:
            self.last_good = folder
            prune_checkpoints(self.out_dir, self.step, self.config.keep_last, self.config.keep_steps)
        return folder

    def _begin(self, resume: bool) -> Path | None:
        found = checkpoint_to_resume(self.out_dir, resume, self.config.max_steps, note=say)
        if found is None:
            self.log.set_aside()
            # An empty log says that a run has begun here, until there is a checkpoint.
            self.log.rewind(step=0)
            return None
        folder, state = found
        check_same_run(state.get("run"), self.identity, MAY_CHANGE)
        if state["step"] > self.config.max_steps:
            raise ConfigError(f"max_steps={self.config.max_steps}: the run is already at step {state['step']}")
        try:
            self.updater.load(partial(read_tensors, folder))
            self.updater.load_counters(state)
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(f"{folder}: does not fit this model ({' '.join(str(error).split()):.300})") from error
        self.step = state["step"]
        self.last_good = None if self.updater.has_exploded else folder
        self.log.rewind(self.step)
        self.metrics = self.log.last(self.step, "validation") or {}
        say(f"resumed from {folder}")
        return folder


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
