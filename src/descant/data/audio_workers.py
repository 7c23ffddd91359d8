"""Batches of audio that other processes read ahead, so that reading does not take the time of the training process."""

import itertools
import logging
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import TypeAlias

import numpy as np
import torch

from descant.data import audio_dataset
from descant.data.audio_dataset import AudioBatch, AudioBatches
from descant.errors import ConfigError
from descant.process_pool import process_pool
from descant.signals import TERMINATION

MAX_WORKERS = 256
AHEAD = 2
"""Batches that are begun ahead of the one that is asked for, of each process."""

GRACE_S = 20.0
"""How long a process goes on after a signal to end: a scheduler sends SIGTERM to all processes of a job, a closed
terminal SIGHUP, and the run still needs its batch to come to the end of its update."""

_Read: TypeAlias = tuple[np.ndarray, dict[str, str]]
"""A wave, and the clips that the process has found unreadable so far. Tensors would need a file for each batch."""


@contextmanager
def read_ahead(
    source: AudioBatches, num_workers: int, numbers_from: Callable[[int], Iterable[int]] = itertools.count
) -> Iterator["AudioBatches | ReadAhead"]:
    """Within the block, the same batches, read by ``num_workers`` other processes; with 0 the source itself.

    They are for one thread, as the ``Prefetcher`` has. Clips that cannot be read are in ``source.left_out`` either way.

    Args:
        numbers_from: the numbers of the batches that will be asked for, from one of them on (``Share``).

    Raises:
        ConfigError: there are fewer than 0 processes, or more than 256.
        ProcessLost: a process was ended; from the block.
    """
    if not 0 <= num_workers <= MAX_WORKERS:
        raise ConfigError(f"workers={num_workers}: allowed are 0, to read in the training process, to {MAX_WORKERS}")
    if num_workers == 0:
        yield source
        return
    with process_pool(num_workers, _begin, source, option="workers") as pool:
        yield ReadAhead(source, pool, AHEAD * num_workers, numbers_from)


class ReadAhead:
    """The batches of a source, of which the next ones are in work in the processes of a pool."""

    def __init__(
        self,
        source: AudioBatches,
        pool: ProcessPoolExecutor,
        num_ahead: int,
        numbers_from: Callable[[int], Iterable[int]],
    ) -> None:
        self._source, self._pool, self._num_ahead, self._numbers_from = source, pool, num_ahead, numbers_from
        self._started: deque[tuple[int, Future[_Read]]] = deque()
        self._numbers: Iterator[int] = iter(())

    def batch(self, step: int) -> AudioBatch:
        """The batch with that number, and the beginning of those that follow."""
        if not self._started or self._started[0][0] != step:
            self._numbers = iter(self._numbers_from(step))
            self._started.clear()
        for number in itertools.islice(self._numbers, 1 + self._num_ahead - len(self._started)):
            self._started.append((number, self._pool.submit(_read, number)))
        wave, left_out = self._started.popleft()[1].result()
        for path, reason in left_out.items():
            self._source.leave_out(path, reason)
        return AudioBatch(torch.from_numpy(wave))


_source: AudioBatches | None = None
"""In a process that reads: what it reads from."""


def _begin(source: AudioBatches) -> None:
    global _source
    _source = source
    # The training process names clips that cannot be read, once for all.
    audio_dataset.LOG.setLevel(logging.ERROR)
    for number in TERMINATION:
        if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup it stays ignored
            signal.signal(number, _end_later)


def _end_later(number: int, frame: FrameType | None) -> None:
    del number, frame
    timer = threading.Timer(GRACE_S, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _read(step: int) -> _Read:
    assert _source is not None, "a process of the pool has begun"
    return _source.batch(step).wave.numpy(), dict(_source.left_out)
