"""Where a run may begin and from what it may go on. Nothing of an earlier run is overwritten without a word."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from descant.errors import CheckpointError, ConfigError
from descant.training.checkpoint import checkpoints, newest_checkpoint

LOG_NAME = "log.jsonl"
_ANY_LOG = re.compile(r"log(-\d+)?\.jsonl")
"""The log of a run, and those of its earlier beginnings (``RunLog.set_aside``)."""


def checkpoint_to_resume(
    out_dir: Path, resume: bool, max_steps: int, note: Callable[[str], None]
) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint of the folder with its state, or None where a run begins at its first step.

    With ``resume`` that is a run which was stopped before its first checkpoint: nothing but its logs is there. Where a
    run is to go on, a checkpoint whose loss had exploded is passed over if there is an older one of sound weights.

    Raises:
        ConfigError: the folder holds a run and ``resume`` is off, or it holds none and ``resume`` is on.
        CheckpointError: it has checkpoints and all are damaged.
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
            f"{out_dir}: all of its checkpoints ({len(damaged)}) are damaged, so there is nothing to go on from. "
            f"Nothing was changed; put a whole one back, or begin in another folder"
        )
    others = [name for name in visible_names(out_dir) if not _ANY_LOG.fullmatch(name)]
    if others or not (out_dir / LOG_NAME).exists():
        raise ConfigError(
            f"resume: {str(out_dir)!r} holds no checkpoint to go on from"
            + (f", only {', '.join(others[:3])}; name the run's folder" if others else "; begin without resume")
        )
    note(f"the run in {out_dir} was stopped before its first checkpoint: it begins again with step 1")
    return None


def _before_explosion(
    out_dir: Path, newest: Path, state: dict[str, Any], note: Callable[[str], None]
) -> tuple[Path, dict[str, Any]]:
    """The newest checkpoint of sound weights; where there is none, the newest one."""
    if not _has_exploded(state):
        return newest, state
    found = newest_checkpoint(out_dir, note=lambda _: None, is_wanted=lambda earlier: not _has_exploded(earlier))
    if found is None:
        return newest, state
    note(f"passed over {newest}, where the loss had exploded: the run goes on from {found[0].name}")
    return found


def _has_exploded(state: Mapping[str, Any]) -> bool:
    return any(state.get("explosions_in_a_row", {}).values())


def refuse_a_run(out_dir: Path) -> None:
    """Raises if a run has begun in this folder.

    Raises:
        ConfigError: one has.
    """
    saved = checkpoints(out_dir)
    if saved or (out_dir / LOG_NAME).exists():
        where = f" saved at {saved[-1].name}" if saved else " that has saved nothing yet"
        raise ConfigError(f"{out_dir} holds a run{where}; go on with it (--resume), or choose another folder (--out)")


def visible_names(folder: Path) -> list[str]:
    """The names in a folder, in order, without hidden ones; none where there is no folder."""
    return sorted(path.name for path in folder.iterdir() if path.name[0] != ".") if folder.is_dir() else []
