"""The checkpoints of one run: written while it trains on, found when it resumes, and deleted when they are old."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from descant import processes
from descant.errors import CheckpointError, ConfigError
from descant.training.checkpoint import StoredGroup, check_same_run, checkpoints, prune_checkpoints, step_of
from descant.training.checkpoint_writer import CheckpointWriter
from descant.training.logs import say
from descant.training.record import RunRecord
from descant.training.run_folder import checkpoint_to_export, checkpoint_to_resume, last_good_checkpoint
from descant.training.trainer_config import RESUMABLE, TrainerConfig
from descant.training.update import Updater


@dataclass(frozen=True)
class Loaded:
    """The checkpoint whose weights a run has now, and what was validated at its step."""

    folder: Path
    step: int
    metrics: dict[str, float]


class RunCheckpoints:
    """What a run saves and loads. All processes call everything in the same order.

    Args:
        identity: what a resumed run must have unchanged, except the fields of ``RESUMABLE``.
        criterion: the value of a validation that tells the best checkpoint: the lower, the better.
    """

    def __init__(
        self, updater: Updater, config: TrainerConfig, record: RunRecord, identity: Mapping[str, Any], criterion: str
    ) -> None:
        self.updater = updater
        self.config = config
        self.record = record
        self.identity = identity
        self.criterion = criterion
        self.out_dir = record.folder
        self.last_good: Path | None = None
        """The newest one on disk whose weights were not failing."""
        self._best: tuple[float, int] | None = None
        self._writer = CheckpointWriter(self.out_dir, updater.world)
        self._is_good = False

    @property
    def is_writing(self) -> bool:
        """Whether this process is still writing the last one."""
        return self._writer.is_busy

    @property
    def last_good_name(self) -> str:
        """The folder of ``last_good``, for messages."""
        return "none was saved before" if self.last_good is None else str(self.last_good)

    def save(self, step: int) -> Path:
        """Begins to save this step, once the last one is complete. ``finish`` puts the folder into place.

        Raises:
            CheckpointError: the disk is full, or the folder cannot be written.
        """
        self.finish()
        self._is_good = not self.updater.is_failing
        state = {"run": self.identity, **self.updater.counters()}
        return self._writer.begin(step, self.updater.tensors(), state)

    def finish(self) -> None:
        """Waits until what was begun is on disk in all processes, and deletes what is no longer kept.

        Raises:
            CheckpointError: as ``save``.
        """
        folder = self._writer.finish()
        if folder is not None and self._is_good:
            self.last_good = folder
            self._prune(step_of(folder))

    def finish_if_shared(self) -> None:
        """Finishes what several processes write, before an error that all of them may have: ``close`` would drop it.

        Raises:
            CheckpointError: as ``save``.
        """
        if processes.count() > 1:
            self.finish()

    def close(self) -> None:
        """Ends at any moment, also after an error; of several processes not all may still be here to finish.

        Raises:
            CheckpointError: as ``save``, of a single process.
        """
        if processes.count() == 1:
            self.finish()
        else:
            self._writer.drop()

    def keep_if_best(self, step: int, metrics: Mapping[str, float]) -> None:
        """Keeps the checkpoint of a step that was validated for as long as none validates better."""
        value = metrics.get(self.criterion, math.nan)
        if self.config.keep_best and math.isfinite(value) and (self._best is None or value < self._best[0]):
            self._best = (value, step)
            # The one before stays until this one is on disk.
            if not self._writer.has_begun:
                self._prune(step)

    def roll_back(self) -> Path | None:
        """Loads the weights of the last good one, and gives its folder; None if there is none."""
        self.finish()
        if self.last_good is not None:
            self.updater.load(partial(StoredGroup, self.last_good))
        return self.last_good

    def start_or_resume(self, resume: bool) -> Loaded | None:
        """Loads the newest intact one and cuts the log behind it, or makes the folder ready for a new run.

        Raises:
            ConfigError, CheckpointError: as ``Trainer.run``.
        """
        found = self.updater.world.from_first(lambda: self._found(resume))
        if found is None:
            return None
        folder, state = found
        if state["step"] > self.config.max_steps:
            raise ConfigError(f"max_steps={self.config.max_steps}: the run is already at step {state['step']}")
        self._load(folder, state)
        self.last_good = folder
        if self.updater.is_failing:
            self.last_good = self.updater.world.from_first(lambda: last_good_checkpoint(self.out_dir, state["step"]))
        metrics, self._best = self.updater.world.from_first(lambda: self._rewound_log(state["step"]))
        say(f"resumed from {folder}")
        return Loaded(folder, state["step"], metrics)

    def load_to_export(self, which: Literal["newest", "best"]) -> Loaded:
        """Loads the one that is to be exported; nothing in the folder changes.

        Raises:
            ConfigError, CheckpointError: as ``Trainer.run``.
        """
        world, record = self.updater.world, self.record
        folder, state = world.from_first(
            lambda: checkpoint_to_export(self.out_dir, which, record.validated(self.criterion), note=say)
        )
        self._load(folder, state)
        step = state["step"]
        return Loaded(folder, step, world.from_first(lambda: record.log.last(step, "validation") or {}))

    def _found(self, resume: bool) -> tuple[Path, dict[str, Any]] | None:
        """The checkpoint to resume from with its state, or None in a folder that is made ready for a new run."""
        found = checkpoint_to_resume(self.out_dir, resume, self.config.max_steps, note=say)
        if found is None:
            self.record.log.set_aside()
            # Until there is a checkpoint, an empty log marks this folder as a run's.
            self.record.log.rewind(step=0)
        return found

    def _rewound_log(self, step: int) -> tuple[dict[str, float], tuple[float, int] | None]:
        """What was validated at this step, and the best validation whose checkpoint is there; later lines are cut."""
        self.record.log.rewind(step)
        saved = {step_of(path) for path in checkpoints(self.out_dir)}
        validated = self.record.validated(self.criterion)
        best = min(((validated[step], step) for step in validated if step in saved), default=None)
        return self.record.log.last(step, "validation") or {}, best

    def _load(self, folder: Path, state: Mapping[str, Any]) -> None:
        check_same_run(state.get("run"), self.identity, RESUMABLE)
        try:
            self.updater.load(partial(StoredGroup, folder))
            self.updater.load_counters(state)
        except (RuntimeError, KeyError) as error:
            raise CheckpointError(f"{folder}: does not fit this model ({' '.join(str(error).split()):.300})") from error

    def _prune(self, step: int) -> None:
        if processes.is_first():
            best = () if self._best is None else (self._best[1],)
            prune_checkpoints(self.out_dir, step, self.config.keep_last, {*self.config.keep_steps, *best}, note=say)
