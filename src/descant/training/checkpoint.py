"""Checkpoints of a training run: one folder per saved step, complete or not there at all.

A checkpoint consists of safetensors files and one ``state.json``; nothing is pickled. ``state.json`` holds the size and
CRC-32 of every other file, which reveals damage after the folder was written (``checkpoint_writer.py``)::

    step-00000012/
      state.json
      trained.safetensors                  a group of named tensors
      trained.part-00001.safetensors       of tensors that are split over processes, the rows of process 1

The files do not depend on the processes that read them: rows are joined, and split again as the mesh of the run is.
"""

import json
import re
import shutil
import zlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from descant.errors import CheckpointError, ConfigError

STATE_NAME = "state.json"
WHOLE_FORMAT = 1
SPLIT_FORMAT = 2
"""Of a checkpoint with parts, which a version that knows no parts must not read."""
ROWS = "rows"
"""The metadata of a part: a JSON object from each name to the first of its rows and the number of rows of the whole."""


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
        CheckpointError: a file is missing, truncated, altered or cannot be read, or the format has another version.
    """
    try:
        state = json.loads((folder / STATE_NAME).read_text(encoding="utf-8"))
        format_ = state["format"]
        files = {name: (recorded["bytes"], recorded["crc32"]) for name, recorded in state["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{folder}: no readable state.json ({error})") from error
    if format_ not in (WHOLE_FORMAT, SPLIT_FORMAT):
        raise CheckpointError(f"{folder}: format {format_}, this version reads formats up to {SPLIT_FORMAT}")
    if state.get("step") != step_of(folder):
        raise CheckpointError(f"{folder}: its state.json belongs to step {state.get('step')!r:.40}")
    for name, (num_bytes, crc32) in files.items():
        file = folder / name
        try:
            is_intact = file.is_file() and file.stat().st_size == num_bytes and crc32_of(file) == crc32
        except OSError as error:
            raise CheckpointError(f"{file}: cannot be read ({error.strerror or error})") from error
        if not is_intact:
            raise CheckpointError(f"{file}: missing, truncated or altered")
    return state


def group_file(group: str, rank: int | None = None) -> str:
    """The name of the file with a group's whole tensors, or with the rows of one process."""
    return f"{group}.safetensors" if rank is None else f"{group}.part-{rank:05d}.safetensors"


class StoredGroup(Mapping[str, Tensor]):
    """The tensors of one group of a checkpoint by their names. Each is read, to the CPU, when it is asked for.

    Raises:
        CheckpointError: there is no such group, or, also while reading, a file cannot be read.
    """

    def __init__(self, folder: Path, group: str) -> None:
        self._path = folder / group_file(group)
        self._pieces: dict[str, list[tuple[int, Any]]] = defaultdict(list)
        """The files that a tensor is in, each with its first row there."""
        self._num_rows: dict[str, int] = {}
        for path in (self._path, *sorted(folder.glob(f"{group}.part-*.safetensors"))):
            try:
                file = safe_open(path, framework="pt")
                rows = json.loads((file.metadata() or {}).get(ROWS, "{}"))
                for name in file.keys():  # noqa: SIM118 (not a mapping)
                    first, self._num_rows[name] = rows.get(name, (0, -1))
                    self._pieces[name].append((first, file))
            except Exception as error:
                raise CheckpointError(f"{path}: cannot be read ({error})") from error

    def __getitem__(self, name: str) -> Tensor:
        pieces = sorted(self._pieces[name], key=lambda piece: piece[0]) if name in self._pieces else []
        if not pieces:
            raise KeyError(name)
        try:
            tensors = [file.get_tensor(name) for _, file in pieces]
        except Exception as error:
            raise CheckpointError(f"{self._path}: {name} cannot be read ({error})") from error
        if self._num_rows[name] < 0:
            return tensors[0]
        firsts, whole = [first for first, _ in pieces], torch.cat(tensors)
        ends = [first + len(tensor) for first, tensor in zip(firsts, tensors, strict=True)]
        if [0, *ends] != [*firsts, self._num_rows[name]]:
            raise CheckpointError(f"{self._path.parent}: {name} has {self._num_rows[name]} rows, and not all are there")
        return whole

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)


def prune_checkpoints(
    run_dir: Path, step: int, keep_last: int, keep_steps: Collection[int], note: Callable[[str], None]
) -> None:
    """Deletes the checkpoints up to ``step`` except the newest ``keep_last`` and those of ``keep_steps``.

    Checkpoints after ``step`` are kept. They exist only if the run resumed from an older checkpoint because they were
    damaged or their loss had exploded. One that cannot be deleted, as where another program has its files open on a
    network file system, is named to ``note`` and tried again by the next call.
    """
    folders = {step_of(folder): folder for folder in checkpoints(run_dir)}
    past = sorted(number for number in folders if number <= step)
    for number in past[:-keep_last]:
        if number not in keep_steps:
            try:
                shutil.rmtree(folders[number])
            except OSError as error:
                note(f"an old checkpoint was not deleted, {folders[number]}: {error.strerror or error}")


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


def crc32_of(file: Path) -> int:
    """The CRC-32 of a file's content."""
    value = 0
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            value = zlib.crc32(block, value)
    return value
