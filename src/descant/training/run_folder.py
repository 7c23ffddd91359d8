"""Where a run may start and which checkpoint it resumes from. An earlier run is never silently overwritten."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from descant.errors import CheckpointError, ConfigError
from descant.training.checkpoint import checkpoint_folder, checkpoints, intact_checkpoint, newest_checkpoint, step_of

LOG_NAME = "log.jsonl"
TENSORBOARD = "tensorboard"
PAGE_NAMES = ("log.csv", "curves.svg", "run.html")
"""The log as a table, a plot and a page (``run_page.py``)."""

_OF_EVERY_RUN = re.compile(rf"log(-\d+)?\.jsonl|{TENSORBOARD}|{'|'.join(map(re.escape, PAGE_NAMES))}")
"""The log of a run, the logs of earlier attempts (``RunLog.set_aside``), and what is made from them."""


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
    others = [name for name in visible_names(out_dir) if not _OF_EVERY_RUN.fullmatch(name)]
    if others or not (out_dir / LOG_NAME).exists():
        raise ConfigError(
            f"resume: {str(out_dir)!r} holds no checkpoint to resume from"
            + (f", only {', '.join(others[:3])}; name the run's folder" if others else "; start without resume")
        )
    note(f"the run in {out_dir} was stopped before its first checkpoint: it starts again at step 1")
    return None


def checkpoint_to_export(
    out_dir: Path,
    which: Literal["newest", "best"],
    validated: Mapping[int, float],
    note: Callable[[str], None],
) -> tuple[Path, dict[str, Any]]:
    """The newest intact checkpoint of the folder whose loss had not exploded, or the best, with its state.

    Args:
        validated: what a validation gave at each step; the lower, the better.

    Raises:
        ConfigError: the folder has no such checkpoint.
    """
    if which == "newest":
        found = newest_checkpoint(out_dir, note, is_wanted=lambda state: not _has_exploded(state))
    else:
        best_first = [checkpoint_folder(out_dir, step) for step in sorted(validated, key=lambda step: validated[step])]
        found = intact_checkpoint([folder for folder in best_first if folder.is_dir()], note)
    if found is None:
        raise ConfigError(
            f"export: {str(out_dir)!r} has no intact checkpoint"
            + (" that was validated; export the newest one" if which == "best" and checkpoints(out_dir) else "")
        )
    return found


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


def last_good_checkpoint(out_dir: Path, step: int) -> Path | None:
    """The newest intact checkpoint up to this step that was saved between updates that did not fail, or None."""
    folders = [folder for folder in reversed(checkpoints(out_dir)) if step_of(folder) <= step]
    found = intact_checkpoint(folders, note=lambda _: None, is_wanted=lambda state: not _is_failing(state))
    return None if found is None else found[0]


def _is_failing(state: Mapping[str, Any]) -> bool:
    return _has_exploded(state) or any(state.get("skips_in_a_row", {}).values())


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
