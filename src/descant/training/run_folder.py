"""Where a run may start and which checkpoint it resumes from. An earlier run is never silently overwritten."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from descant.errors import CheckpointError, ConfigError
from descant.training.checkpoint import checkpoints, newest_checkpoint

LOG_NAME = "log.jsonl"
_ANY_LOG = re.compile(r"log(-\d+)?\.jsonl")
"""The log of a run, and the logs of earlier attempts (``RunLog.set_aside``)."""


def checkpoint_to_resume(
    out_dir: Path, resume: bool, max_steps: int, note: Callable[[str], None]
) -> tuple[Path, dict[str, Any]] | None:
    """The newest intact checkpoint of the folder with its state, or None if the run starts at its first step.

    With ``resume``, None means that the run was stopped before its first checkpoint and left only its logs. If steps
    remain to be trained, a checkpoint whose loss had exploded is skipped in favour of an older, healthy one.

    Raises:
        ConfigError: the folder holds a run and ``resume`` is off, or it holds none and ``resume`` is on.
        CheckpointError: the folder has checkpoints, and all are damaged.
    """
    if not resume:
        refuse_a_run(out_dir)
        return None
    found = newest_checkpoint(out_dir, note)
    if found is not None:
        return _before_explosion(out_dir, *found, note) if found[1]["step"] < max_steps else found
    damaged = checkpoints(out_dir)
    if damaged:
        raise CheckpointError(
            f"{out_dir}: all of its checkpoints ({len(damaged)}) are damaged, so there is nothing to resume from. "
            f"Nothing was changed; restore an intact one, or start in another folder"
        )
    others = [name for name in visible_names(out_dir) if not _ANY_LOG.fullmatch(name)]
    if others or not (out_dir / LOG_NAME).exists():
        raise ConfigError(
            f"resume: {str(out_dir)!r} holds no checkpoint to resume from"
            + (f", only {', '.join(others[:3])}; name the run's folder" if others else "; start without resume")
        )
    note(f"the run in {out_dir} was stopped before its first checkpoint: it starts again at step 1")
    return None


def _before_explosion(
    out_dir: Path, newest: Path, state: dict[str, Any], note: Callable[[str], None]
) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint whose loss had not exploded, or the newest one if all had."""
    if not _has_exploded(state):
        return newest, state
    found = newest_checkpoint(out_dir, note=lambda _: None, is_wanted=lambda earlier: not _has_exploded(earlier))
    if found is None:
        return newest, state
    note(f"skipped {newest}, where the loss had exploded: the run resumes from {found[0].name}")
    return found


def _has_exploded(state: Mapping[str, Any]) -> bool:
    return any(state.get("explosions_in_a_row", {}).values())


def refuse_a_run(out_dir: Path) -> None:
    """Checks that this folder holds no run.

    Raises:
        ConfigError: it does.
    """
    saved = checkpoints(out_dir)
    if saved or (out_dir / LOG_NAME).exists():
        where = f" saved at {saved[-1].name}" if saved else " that has saved nothing yet"
        raise ConfigError(f"{out_dir} holds a run{where}; resume it (--resume), or choose another folder (--out)")


def visible_names(folder: Path) -> list[str]:
    """The sorted names in a folder without hidden ones; empty if there is no folder."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
