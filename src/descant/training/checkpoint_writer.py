"""Writes checkpoints while training goes on: every process its tensors, from a copy; the first one the index.

The folder is renamed once the files of all processes are on disk (`atomic.py`), so a run that is killed at any moment
has only complete checkpoints.
"""

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from descant import processes
from descant.atomic import DISK_ERRORS, flush, replacing_folder
from descant.errors import CheckpointError, DescantError
from descant.training.checkpoint import (
    ROWS,
    SPLIT_FORMAT,
    STATE_NAME,
    WHOLE_FORMAT,
    checkpoint_folder,
    crc32_of,
    group_file,
)
from descant.training.distributed import World
from descant.training.sharding import own_rows

FileRecords: TypeAlias = dict[str, dict[str, int]]
"""The size and CRC-32 of files by their names."""


@dataclass
class OwnFile:
    """The tensors of a file, copied to the CPU, and its metadata."""

    tensors: dict[str, Tensor] = field(default_factory=dict)
    metadata: dict[str, str] | None = None


class CheckpointWriter:
    """Writes the checkpoints of a run, one at a time. All processes call ``begin`` and ``finish`` in the same order."""

    def __init__(self, run_dir: Path, world: World) -> None:
        self._run_dir = run_dir
        self._world = world
        self._staging = ExitStack()
        self._folder = self._new = run_dir
        self._state: dict[str, Any] = {}
        self._writing: Future[FileRecords] | None = None

    @property
    def has_begun(self) -> bool:
        """Whether a checkpoint was begun and not finished."""
        return self._writing is not None

    @property
    def is_busy(self) -> bool:
        """Whether this process is still writing."""
        return self._writing is not None and not self._writing.done()

    def begin(self, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]) -> Path:
        """Begins to save named groups of tensors and a JSON state as ``run_dir/step-00000012``, which it returns.

        The tensors may change afterwards.

        Raises:
            CheckpointError: the folder cannot be written. Older checkpoints are unchanged.
        """
        assert not self.has_begun, "finish the last one first"
        self._folder = checkpoint_folder(self._run_dir, step)
        self._state = {"step": step, **state}
        self._new = self._world.from_first(self._stage)
        pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing = pool.submit(_write, self._new, _own_files(tensors))
        pool.shutdown(wait=False)
        return self._folder

    def finish(self) -> Path | None:
        """Waits until all processes have written, and gives the complete folder; None if nothing was begun.

        Raises:
            CheckpointError: the disk is full or the folder cannot be written, in any process. Older checkpoints are
                unchanged.
        """
        if self._writing is None:
            return None
        writing, self._writing = self._writing, None
        outcomes = self._world.gather(_outcome(writing))
        failures = [outcome for outcome in outcomes if isinstance(outcome, str)]
        if failures:
            self._remove()
            raise _unsaved(self._folder, failures[0]) from writing.exception()
        files = {
            name: record for outcome in outcomes if not isinstance(outcome, str) for name, record in outcome.items()
        }
        self._world.from_first(partial(self._complete, files))
        return self._folder

    def drop(self) -> None:
        """Gives up what was begun, without the other processes."""
        if self._writing is not None:
            self._writing.exception()
            self._writing = None
            self._remove()

    def _stage(self) -> Path:
        self._staging = ExitStack()
        with _reported(self._folder):
            return self._staging.enter_context(replacing_folder(self._folder, is_replaceable=lambda _: True))

    def _complete(self, files: FileRecords) -> None:
        is_split = any(".part-" in name for name in files)
        document = {"format": SPLIT_FORMAT if is_split else WHOLE_FORMAT, "files": files, **self._state}
        with _reported(self._folder), self._staging:
            (self._new / STATE_NAME).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def _remove(self) -> None:
        """Removes what was written of the checkpoint."""
        with suppress(CheckpointError), self._staging:
            raise CheckpointError("this one is not put into place")


def _own_files(tensors: Mapping[str, Mapping[str, Tensor]]) -> dict[str, OwnFile]:
    """What this process writes: its rows of split tensors and, if it is the first, all others."""
    files = {group_file(group): OwnFile() for group in tensors} if processes.is_first() else {}
    for group, members in tensors.items():
        part = OwnFile()
        rows: dict[str, tuple[int, int]] = {}
        for name, tensor in members.items():
            if not isinstance(tensor, DTensor):
                if processes.is_first():
                    files[group_file(group)].tensors[name] = _copy(tensor)
            elif (own := own_rows(tensor)) is not None:
                part.tensors[name] = _copy(own.tensor)
                rows[name] = (own.first, own.num_rows)
        if rows:
            part.metadata = {ROWS: json.dumps(rows)}
            files[group_file(group, processes.rank())] = part
    return files


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)


def _write(folder: Path, files: Mapping[str, OwnFile]) -> FileRecords:
    records = {}
    for name, content in files.items():
        file = folder / name
        save_file(content.tensors, file, content.metadata)
        flush(file)
        records[name] = {"bytes": file.stat().st_size, "crc32": crc32_of(file)}
    return records


def _outcome(writing: Future[FileRecords]) -> FileRecords | str:
    """The files written, or why they could not be."""
    error = writing.exception()
    return writing.result() if error is None else _reason(error)


@contextmanager
def _reported(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _unsaved(folder, _reason(error)) from error


def _unsaved(folder: Path, reason: str) -> CheckpointError:
    return CheckpointError(f"{folder}: cannot be saved ({reason})")


def _reason(error: BaseException) -> str:
    """The type and the text of an error, and what to do if it is one of the disk."""
    text = str(error) if isinstance(error, DescantError) else f"{type(error).__name__}: {error}"
    return f"{text}; free the disk or choose another folder" if _number_of(error) in DISK_ERRORS else text


def _number_of(error: BaseException) -> int | None:
    """The operating system's number of an error: safetensors and what is raised from an ``OSError`` have it too."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    if found is not None:
        return int(found[1])
    return None if error.__cause__ is None else _number_of(error.__cause__)
