"""The training loop. It is independent of the model: a ``Task`` computes losses, a ``BatchSource`` supplies batches.

A step depends only on the weights, the optimisers' state, the seed and the step number. So a run that was killed and
resumed ends with the same bits as an uninterrupted one (on the same machine, with the same number of threads).

Of several processes (``distributed.py``) each runs this loop on its share of the batches; the first one writes.
"""

import itertools
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from descant import processes
from descant.config import to_dict
from descant.errors import Cancelled, TrainingDiverged
from descant.folder_lock import locked
from descant.training.checkpoint import checkpoint_folder, step_of
from descant.training.compile import naming_compiler
from descant.training.distributed import own_device
from descant.training.environment import refuse_several_processes
from descant.training.interrupt import StopSignals
from descant.training.logs import RunningMeans, clock, console_line, merged, say, slowest
from descant.training.machine import cpu_threads, slow_precision, training_device
from descant.training.prefetch import Prefetcher
from descant.training.record import RunRecord
from descant.training.run_checkpoints import RunCheckpoints
from descant.training.sharding import whole_weights
from descant.training.task import BatchSource, Task
from descant.training.trainer_config import TrainerConfig
from descant.training.update import Updater


@dataclass(frozen=True)
class TrainResult:
    """How far a run got. ``metrics`` come from the last validation; ``finished`` is False if time ran out."""

    step: int
    finished: bool
    metrics: dict[str, float]
    checkpoint: Path
    skipped: int


class Trainer:
    """One run of one task in one folder, which holds ``step-*`` checkpoints, ``log.jsonl`` and a page (``run_page``).

    Args:
        run_identity: plain data that identifies the run in addition to the configs of trainer and task, above all the
            training data. A run can be resumed only if this is unchanged.
        left_out: the clips found so far that cannot be used, each with the reason; they are named in the log.
        watch: called with the step and the metrics of every validation, while the averaged weights are in place, and
            again with those of the step that a run resumes from; True ends the run. With it, a new run validates before
            its first step too.
    """

    def __init__(
        self,
        task: Task,
        batches: BatchSource,
        config: TrainerConfig,
        out_dir: Path,
        run_identity: Mapping[str, Any] | None = None,
        left_out: Callable[[], Mapping[str, str]] = dict,
        watch: Callable[[int, Mapping[str, float]], bool] | None = None,
    ) -> None:
        self.task = task
        self.watch = watch
        self.batches = batches
        self.config = config
        self.out_dir = Path(out_dir)
        self.device = own_device(training_device(config.device))
        task.to(self.device)
        self.updater = Updater(task, config, self.device)
        self.world, self.share = self.updater.world, self.updater.share
        self.record = RunRecord(self.out_dir, left_out, config.tensorboard)
        self.log = self.record.log
        identity = {"trainer": to_dict(config), "task": task.identity(), "run": dict(run_identity or {})}
        self.checkpoints = RunCheckpoints(self.updater, config, self.record, identity, task.criterion)
        self.step = 0
        self.metrics: dict[str, float] = {}
        self.is_ended = False

    def run(self, resume: bool = False) -> TrainResult:
        """Trains to ``max_steps`` or until time runs out, and saves a checkpoint of the last step.

        ``resume`` continues from the newest intact checkpoint of the folder. Weights whose loss has exploded are saved
        only at ``max_steps``. With ``export`` in the config nothing is trained: the result is what is in the folder.

        Raises:
            Cancelled: a signal stopped the run; the current step is saved, unless the loss had exploded.
            ConfigError: the folder holds a run and ``resume`` is off, it holds none and ``resume`` is on, or the run's
                config or identity changed; blocks are to be compiled and cannot be.
            TrainingDiverged: ``max_skips`` consecutive phases had no finite gradient or an exploded loss, or time ran
                out while the loss had exploded; the last good checkpoint is older.
            CheckpointError: the disk is full, all checkpoints are damaged, or one does not fit the model.
            InvalidRequest: another process is training in this folder, or this is one of several that were started
                together and are not ``joined``.
            ProcessLost: as ``joined``.
            DataError: the folder cannot be written to.
        """
        if processes.count() == 1:
            refuse_several_processes()
        with (
            locked(self.out_dir) if processes.is_first() else nullcontext(),
            naming_compiler() if self.config.compile else nullcontext(),
        ):
            return self._run(resume) if self.config.export is None else self._export(self.config.export)

    def _run(self, resume: bool) -> TrainResult:
        resumed = self.checkpoints.start_or_resume(resume)
        checkpoint = None if resumed is None else resumed.folder
        if resumed is not None:
            self.step, self.metrics = resumed.step, resumed.metrics
        # The global generator is reseeded in every step; fork_rng restores the caller's state.
        devices = [self.device] if self.device.type == "cuda" else []
        with cpu_threads(self.config.num_threads), torch.random.fork_rng(devices), StopSignals() as stop:
            if self.metrics:
                with self.averaged_model():
                    self._ask_watch()
            elif self.watch is not None if checkpoint is None else self._should_validate():
                self._validate()
            try:
                checkpoint = self._loop(stop) or checkpoint or self.checkpoints.save(self.step)
                self.checkpoints.finish()
            except TrainingDiverged as error:
                self.checkpoints.finish()
                raise TrainingDiverged(
                    f"{error}; the last good checkpoint: {self.checkpoints.last_good_name}"
                ) from error
            finally:
                try:
                    self.checkpoints.close()
                finally:
                    self.record.close(self.step)
            if any(self.world.any(stop.asked)):
                raise Cancelled(self._stop_message())
        return self._result(checkpoint)

    def _export(self, which: Literal["newest", "best"]) -> TrainResult:
        found = self.checkpoints.load_to_export(which)
        self.step, self.metrics = found.step, found.metrics
        say(f"exporting {found.folder}, step {self.step} of {self.config.max_steps}")
        return self._result(found.folder)

    def _result(self, checkpoint: Path) -> TrainResult:
        is_finished = self.step == self.config.max_steps
        return TrainResult(self.step, is_finished, self.metrics, checkpoint, self.updater.skipped)

    def averaged_model(self) -> AbstractContextManager[nn.Module]:
        """The task's model in eval mode with the averaged weights, or the current ones if nothing is averaged."""
        return self.updater.averaged_model()

    def export(self, write: Callable[[], None]) -> None:
        """Calls ``write`` in the first process, while the task's model has its averaged weights, whole."""
        with self.averaged_model(), whole_weights(self.task.model):
            self.world.from_first(write)

    def _loop(self, stop: StopSignals) -> Path | None:
        config, first, began = self.config, self.step, time.monotonic()
        if first < config.max_steps and not self.is_ended:
            precision = self.updater.precision
            say(
                f"training {config.max_steps - first} steps on {self.device} in {precision}, a checkpoint every "
                f"{config.save_every}"
            )
            slow = slow_precision(precision, self.device)
            if slow is not None:
                say(slow)
        means = RunningMeans()
        checkpoint = None
        end = config.max_steps * config.accumulate
        numbers = itertools.takewhile(lambda number: number < end, self.share.numbers_from(first * config.accumulate))
        with Prefetcher(self.batches, numbers) as prefetcher:
            while self.step < config.max_steps and not self.is_ended:
                batches = [prefetcher.next_batch() for _ in self.share.positions(self.step)]
                for metrics in self.updater.update(self.step, batches):
                    means.add(metrics)
                self.step += 1
                if self.updater.should_roll_back:
                    self._roll_back()
                elapsed_s = time.monotonic() - began
                is_out_of_time, is_stopped, is_writing = self.world.any(
                    config.max_minutes is not None and elapsed_s > 60 * config.max_minutes,
                    stop.asked,
                    self.checkpoints.is_writing,
                )
                if not is_writing:
                    self.checkpoints.finish()
                if self.step == first + 1:
                    say(self._forecast(elapsed_s, config.max_steps - first))
                if self._should_log():
                    self._write_log(means, left_s=elapsed_s / (self.step - first) * (config.max_steps - self.step))
                if self._should_save(is_last=is_out_of_time or is_stopped):
                    # Save before validating: a failing validation must not lose the weights.
                    checkpoint = self.checkpoints.save(self.step)
                if is_stopped:
                    self.checkpoints.finish()
                    raise Cancelled(self._stop_message())
                if is_out_of_time and self.updater.has_exploded and self.step < config.max_steps:
                    raise TrainingDiverged(f"step {self.step}: time ran out and the loss has exploded: not saved")
                if self._should_validate() or is_out_of_time:
                    self.checkpoints.finish_if_shared()
                    self._validate()
                    if checkpoint is not None and step_of(checkpoint) == self.step:
                        self.checkpoints.keep_if_best(self.step, self.metrics)
                if self.is_ended and (checkpoint is None or step_of(checkpoint) != self.step):
                    checkpoint = self.checkpoints.save(self.step)
                if is_out_of_time:
                    break
        return checkpoint

    def _roll_back(self) -> None:
        """Brings back the weights of the last good checkpoint; the batches since then are not trained on again."""
        checkpoint = self.checkpoints.roll_back()
        if checkpoint is not None:
            failures = f"{self.config.rollback_after} failures in a row"
            say(f"step {self.step}: {failures}: back to the weights of {checkpoint}")

    def _should_log(self) -> bool:
        return self.step % self.config.log_every == 0 or self.step == self.config.max_steps

    def _should_save(self, is_last: bool) -> bool:
        is_due = is_last or self.step % self.config.save_every == 0 or self.step in self.config.keep_steps
        # A resumed run starts from the newest checkpoint, so exploded weights are not saved before the last step.
        return (is_due and not self.updater.has_exploded) or self.step == self.config.max_steps

    def _stop_message(self) -> str:
        """The message for a run that was stopped by a signal."""
        if self.updater.has_exploded and self.step < self.config.max_steps:
            return (
                f"stopped at step {self.step}, where the loss had exploded, so it was not saved; the last "
                f"good checkpoint: {self.checkpoints.last_good_name}; --resume continues from there"
            )
        return (
            f"stopped at step {self.step}, saved in {checkpoint_folder(self.out_dir, self.step)}; --resume continues, "
            f"--export newest writes the model as it is now, and --export best the one that validated best"
        )

    def _forecast(self, step_s: float, num_steps: int) -> str:
        text = (
            f"step {self.step}/{self.config.max_steps}  took {step_s:.2g} s: about {clock(step_s * num_steps)} in all"
        )
        minutes = self.config.max_minutes
        return text if minutes is None else f"{text}, at most {clock(60 * minutes)}"

    def _should_validate(self) -> bool:
        every = self.config.validate_every
        return self.step == self.config.max_steps or (every is not None and self.step % every == 0)

    def _write_log(self, means: RunningMeans, left_s: float) -> None:
        values = {
            **merged(self.world.gather(means.read())),
            **slowest(self.world.gather((self.updater.own_s, socket.gethostname()))),
            "lr": self.updater.learning_rate(self.step - 1),
            "skipped": float(self.updater.skipped),
        }
        self.updater.own_s = 0.0
        self.record.write(self.step, "train", values)
        say(console_line(self.step, self.config.max_steps, values, left_s))

    def _validate(self) -> None:
        with self.averaged_model():
            # All processes measure the same, as each is needed where weights are split; what the first found counts.
            metrics = self.task.validate()
            self.metrics = self.world.from_first(lambda: metrics)
            self._ask_watch()
        self.record.write(self.step, "validation", self.metrics)
        say("valid " + console_line(self.step, self.config.max_steps, self.metrics))

    def _ask_watch(self) -> None:
        if self.watch is not None:
            (self.is_ended,) = self.world.any(self.watch(self.step, self.metrics))
