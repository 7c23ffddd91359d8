"""The training loop. It is independent of the model: a ``Task`` computes losses, a ``BatchSource`` supplies batches.

A step depends only on the weights, the optimisers' state, the seed and the step number. So a run that was killed and
resumed ends with the same bits as an uninterrupted one (on the same machine, with the same number of threads).
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from descant.config import to_dict
from descant.devices import select_device
from descant.errors import Cancelled, CheckpointError, ConfigError, InvalidRequest, TrainingDiverged
from descant.folder_lock import locked
from descant.training.checkpoint import (
    check_same_run,
    checkpoint_folder,
    checkpoints,
    prune_checkpoints,
    read_tensors,
    save_checkpoint,
    step_of,
)
from descant.training.environment import refuse_several_processes
from descant.training.interrupt import StopSignals
from descant.training.logs import RunningMeans, clock, console_line, say
from descant.training.prefetch import Prefetcher
from descant.training.record import RunRecord
from descant.training.run_folder import checkpoint_to_export, checkpoint_to_resume
from descant.training.task import BatchSource, Task
from descant.training.trainer_config import RESUMABLE, TrainerConfig
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
        watch: called with the step and the metrics of every validation, while the averaged weights are in place; True
            ends the run. With it, a new run validates before its first step too.
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
        self.device = training_device(config.device)
        task.to(self.device)
        self.updater = Updater(task, config, self.device)
        self.record = RunRecord(self.out_dir, left_out, config.tensorboard)
        self.log = self.record.log
        self.identity = {"trainer": to_dict(config), "task": task.identity(), "run": dict(run_identity or {})}
        self.step = 0
        self.metrics: dict[str, float] = {}
        self.is_ended = False
        self.last_good: Path | None = None
        self.best: tuple[float, int] | None = None

    def run(self, resume: bool = False) -> TrainResult:
        """Trains to ``max_steps`` or until time runs out, and saves a checkpoint of the last step.

        ``resume`` continues from the newest intact checkpoint of the folder. Weights whose loss has exploded are saved
        only at ``max_steps``. With ``export`` in the config nothing is trained: the result is what is in the folder.

        Raises:
            Cancelled: a signal stopped the run; the current step is saved, unless the loss had exploded.
            ConfigError: the folder holds a run and ``resume`` is off, it holds none and ``resume`` is on, or the run's
                config or identity changed.
            TrainingDiverged: ``max_skips`` consecutive phases had no finite gradient or an exploded loss, or time ran
                out while the loss had exploded; the last good checkpoint is older.
            CheckpointError: the disk is full, all checkpoints are damaged, or one does not fit the model.
            InvalidRequest: another process is training in this folder, or this is one of several that were started
                together.
            DataError: the folder cannot be written to.
        """
        refuse_several_processes()
        with locked(self.out_dir):
            return self._run(resume) if self.config.export is None else self._export(self.config.export)

    def _run(self, resume: bool) -> TrainResult:
        checkpoint = self._start_or_resume(resume)
        # The global generator is reseeded in every step; fork_rng restores the caller's state.
        devices = [self.device] if self.device.type == "cuda" else []
        with _threads(self.config.num_threads), torch.random.fork_rng(devices), StopSignals() as stop:
            is_unvalidated = checkpoint is not None and self._should_validate() and not self.metrics
            if is_unvalidated or (self.watch is not None and self.step == 0):
                self._validate()
            try:
                checkpoint = self._loop(stop) or checkpoint
            except TrainingDiverged as error:
                raise TrainingDiverged(f"{error}; the last good checkpoint: {self._last_good_name()}") from error
            finally:
                self.record.close(self.step)
        assert checkpoint is not None, "a run ends with a save, or had already finished"
        return self._result(checkpoint)

    def _export(self, which: Literal["newest", "best"]) -> TrainResult:
        checkpoint, state = checkpoint_to_export(
            self.out_dir, which, self.record.validated(self.task.criterion), note=say
        )
        self._load(checkpoint, state)
        self.metrics = self.log.last(self.step, "validation") or {}
        say(f"exporting {checkpoint}, step {self.step} of {self.config.max_steps}")
        return self._result(checkpoint)

    def _result(self, checkpoint: Path) -> TrainResult:
        is_finished = self.step == self.config.max_steps
        return TrainResult(self.step, is_finished, self.metrics, checkpoint, self.updater.skipped)

    def averaged_model(self) -> AbstractContextManager[nn.Module]:
        """The task's model in eval mode with the averaged weights, or the current ones if nothing is averaged."""
        return self.updater.averaged_model()

    def _loop(self, stop: StopSignals) -> Path | None:
        config, first, began = self.config, self.step, time.monotonic()
        if first < config.max_steps:
            say(f"training {config.max_steps - first} steps on {self.device}, a checkpoint every {config.save_every}")
        means = RunningMeans()
        checkpoint = None
        numbers = range(first * config.accumulate, config.max_steps * config.accumulate)
        with Prefetcher(self.batches, numbers) as prefetcher:
            while self.step < config.max_steps:
                batches = [prefetcher.next_batch() for _ in range(config.accumulate)]
                for metrics in self.updater.update(self.step, batches):
                    means.add(metrics)
                self.step += 1
                elapsed_s = time.monotonic() - began
                is_out_of_time = config.max_minutes is not None and elapsed_s > 60 * config.max_minutes
                if self.step == first + 1:
                    say(self._forecast(elapsed_s, config.max_steps - first))
                if self._should_log():
                    self._write_log(means, left_s=elapsed_s / (self.step - first) * (config.max_steps - self.step))
                if self._should_save(is_last=is_out_of_time or stop.asked):
                    # Save before validating: a failing validation must not lose the weights.
                    checkpoint = self._save()
                if stop.asked:
                    raise Cancelled(self._stop_message())
                if is_out_of_time and self.updater.has_exploded and self.step < config.max_steps:
                    raise TrainingDiverged(f"step {self.step}: time ran out and the loss has exploded: not saved")
                if self._should_validate() or is_out_of_time:
                    self._validate()
                    self._keep_if_best(checkpoint)
                if self.is_ended and (checkpoint is None or step_of(checkpoint) != self.step):
                    checkpoint = self._save()
                if is_out_of_time or self.is_ended:
                    break
        return checkpoint

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
                f"good checkpoint: {self._last_good_name()}; --resume continues from there"
            )
        return (
            f"stopped at step {self.step}, saved in {checkpoint_folder(self.out_dir, self.step)}; --resume continues, "
            f"--export newest writes the model as it is now, and --export best the one that validated best"
        )

    def _last_good_name(self) -> str:
        return "none was saved before" if self.last_good is None else str(self.last_good)

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
            **means.read(),
            "lr": self.updater.learning_rate(self.step - 1),
            "skipped": float(self.updater.skipped),
        }
        self.record.write(self.step, "train", values)
        say(console_line(self.step, self.config.max_steps, values, left_s))

    def _validate(self) -> None:
        with self.averaged_model():
            self.metrics = self.task.validate()
            if self.watch is not None:
                self.is_ended = self.watch(self.step, self.metrics)
        self.record.write(self.step, "validation", self.metrics)
        say("valid " + console_line(self.step, self.config.max_steps, self.metrics))

    def _keep_if_best(self, checkpoint: Path | None) -> None:
        """Keeps a checkpoint of this step, if there is one, for as long as none validates better."""
        value = self.metrics.get(self.task.criterion, math.nan)
        is_saved = checkpoint is not None and step_of(checkpoint) == self.step
        if self.config.keep_best and is_saved and math.isfinite(value) and (self.best is None or value < self.best[0]):
            self.best = (value, self.step)
            self._prune()

    def _save(self) -> Path:
        state = {"run": self.identity, **self.updater.counters()}
        folder = save_checkpoint(self.out_dir, self.step, self.updater.tensors(), state)
        if not self.updater.has_exploded:
            self.last_good = folder
            self._prune()
        return folder

    def _prune(self) -> None:
        best = () if self.best is None else (self.best[1],)
        prune_checkpoints(self.out_dir, self.step, self.config.keep_last, {*self.config.keep_steps, *best})

    def _start_or_resume(self, resume: bool) -> Path | None:
        found = checkpoint_to_resume(self.out_dir, resume, self.config.max_steps, note=say)
        if found is None:
            self.log.set_aside()
            # Until there is a checkpoint, an empty log marks this folder as a run's.
            self.log.rewind(step=0)
            return None
        folder, state = found
        if state["step"] > self.config.max_steps:
            raise ConfigError(f"max_steps={self.config.max_steps}: the run is already at step {state['step']}")
        self._load(folder, state)
        self.last_good = None if self.updater.has_exploded else folder
        self.log.rewind(self.step)
        self.metrics = self.log.last(self.step, "validation") or {}
        saved = {step_of(path) for path in checkpoints(self.out_dir)}
        validated = self.record.validated(self.task.criterion)
        self.best = min(((validated[step], step) for step in validated if step in saved), default=None)
        say(f"resumed from {folder}")
        return folder

    def _load(self, folder: Path, state: Mapping[str, Any]) -> None:
        check_same_run(state.get("run"), self.identity, RESUMABLE)
        try:
            self.updater.load(partial(read_tensors, folder))
            self.updater.load_counters(state)
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(f"{folder}: does not fit this model ({' '.join(str(error).split()):.300})") from error
        self.step = state["step"]


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def training_device(name: str) -> torch.device:
    """The device of that name.

    Raises:
        ConfigError: this machine has no such device.
    """
    try:
        return select_device(name)
    except InvalidRequest as error:
        raise ConfigError(f"trainer.{error}") from error
