"""Checkpoints of a training run: one folder per saved step, written completely or not at all.

A checkpoint consists of safetensors files and one ``state.json``; nothing is pickled. `atomic.py` writes to a temporary
folder and renames it once everything is on disk, so a folder named ``step-...`` was complete when it appeared.
``state.json`` holds the size and CRC-32 of every other file, which reveals damage that happens later.
"""

import json
import re
import shutil
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from descant.atomic import replacing_folder
from descant.errors import CheckpointError, ConfigError

FORMAT = 1


def save_checkpoint(
    run_dir: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> Path:
    """Saves named groups of tensors and a JSON state as ``run_dir/step-00000012``, and returns that folder.

    Raises:
        CheckpointError: the disk is full or the folder cannot be written. Older checkpoints are unchanged.
    """
    folder = checkpoint_folder(run_dir, step)
    try:
        with replacing_folder(folder, is_replaceable=lambda _: True) as new:
            files = {}
            for group, members in tensors.items():
                file = new / f"{group}.safetensors"
                save_file({name: tensor.detach().cpu().contiguous() for name, tensor in members.items()}, file)
                files[file.name] = {"bytes": file.stat().st_size, "crc32": _crc32(file)}
            document = {"format": FORMAT, "step": step, "files": files, **state}
            (new / "state.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except Exception as error:
        raise CheckpointError(f"{folder}: cannot be saved ({error}); free the disk or choose another folder") from error
    return folder


def checkpoint_folder(run_dir: Path, step: int) -> Path:
    """Where the checkpoint of a step is, if there is one."""
    return run_dir / f"step-{step:08d}"


def checkpoints(run_dir: Path) -> list[Path]:
    """The folders of a run's checkpoints, intact or damaged, oldest first."""
    if not run_dir.is_dir():
        return []
    return sorted((path for path in run_dir.iterdir() if re.fullmatch(r"step-\d{8,}", path.name)), key=step_of)


def newest_checkpoint(
    run_dir: Path, note: Callable[[str], None], is_wanted: Callable[[Mapping[str, Any]], bool] = lambda _: True
) -> tuple[Path, dict[str, Any]] | None:
    """The newest intact checkpoint of a run and its ``state.json``, or None; the rest as ``intact_checkpoint``."""
    return intact_checkpoint([*reversed(checkpoints(run_dir))], note, is_wanted)


def intact_checkpoint(
    folders: Sequence[Path],
    note: Callable[[str], None],
    is_wanted: Callable[[Mapping[str, Any]], bool] = lambda _: True,
) -> tuple[Path, dict[str, Any]] | None:
    """The first intact checkpoint among these and its ``state.json``, or None if there is none.

    Damaged checkpoints are skipped, and each is reported to ``note``.

    Args:
        is_wanted: decides from its ``state.json`` whether a checkpoint is acceptable.
    """
    for folder in folders:
        try:
            state = read_state(folder)
        except CheckpointError as error:
            note(f"skipped a damaged checkpoint: {error}")
            continue
        if is_wanted(state):
            return folder, state
    return None


def read_state(folder: Path) -> dict[str, Any]:
    """The ``state.json`` of a checkpoint, after all of its files were verified.

    Raises:
        CheckpointError: a file is missing, truncated or altered, or the format has another version.
    """
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        format_ = state["format"]
        files = {name: (recorded["bytes"], recorded["crc32"]) for name, recorded in state["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder}: no readable state.json ({error})") from error
    if format_ != FORMAT:
        raise CheckpointError(f"{folder}: format {format_}, this version reads format {FORMAT}")
    if state.get("step") != step_of(folder):
        raise CheckpointError(f"{folder}: its state.json belongs to step {state.get('step')!r:.40}")
    for name, (num_bytes, crc32) in files.items():
        file = folder / name
        if not file.is_file() or file.stat().st_size != num_bytes or _crc32(file) != crc32:
            raise CheckpointError(f"{file}: missing, truncated or altered")
    return state


def read_tensors(folder: Path, group: str) -> dict[str, Tensor]:
    """The tensors of one group of a checkpoint, loaded to the CPU.

    Raises:
        CheckpointError: there is no such group, or its file cannot be read.
    """
    file = folder / f"{group}.safetensors"
    try:
        return load_file(file)
    except Exception as error:
        raise CheckpointError(f"{file}: cannot be read ({error})") from error


def prune_checkpoints(run_dir: Path, step: int, keep_last: int, keep_steps: Collection[int]) -> None:
    """Deletes the checkpoints up to ``step`` except the newest ``keep_last`` and those of ``keep_steps``.

    Checkpoints after ``step`` are kept. They exist only if the run resumed from an older checkpoint because they were
    damaged or their loss had exploded.
    """
    folders = {step_of(folder): folder for folder in checkpoints(run_dir)}
    past = sorted(number for number in folders if number <= step)
    for number in past[:-keep_last]:
        if number not in keep_steps:
            shutil.rmtree(folders[number])


def check_same_run(saved: Any, now: Any, free: Collection[str], path: str = "") -> None:
    """Checks that two descriptions of a run agree in every field except the ``free`` ones (dotted paths).

    Raises:
        ConfigError: they do not; names the first field that differs, with both values.
    """
    if path in free:
        return
    if isinstance(saved, dict) and isinstance(now, dict):
        for name in [*saved, *(name for name in now if name not in saved)]:
            check_same_run(saved.get(name), now.get(name), free, f"{path}.{name}" if path else name)
    elif saved != now:
        raise ConfigError(
            f"{path}: the run was started with {saved!r:.200}, now it is {now!r:.200}. "
            f"Restore the old value, or start a new run in another folder; only {', '.join(sorted(free))} may change"
        )


def step_of(folder: Path) -> int:
    """The step of a checkpoint, from its name."""
    return int(folder.name.removeprefix("step-"))


def _crc32(file: Path) -> int:
    value = 0
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            value = zlib.crc32(block, value)
    return value
