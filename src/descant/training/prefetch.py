"""Batches prepared in a background thread while the model computes."""

import queue
import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Any

from descant.training.task import BatchSource


class Prefetcher:
    """The batches with the given numbers, in order, at most ``depth`` of them ahead of the reader.

    An error in the source is raised by the ``next_batch()`` call that would have returned that batch. Use it as a
    context manager; leaving it ends the thread.
    """

    def __init__(self, source: BatchSource, numbers: Iterable[int], depth: int = 4) -> None:
        self._source = source
        self._numbers = numbers
        self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(maxsize=depth)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="descant-batches", daemon=True)

    def __enter__(self) -> "Prefetcher":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.set()
        self._thread.join()

    def next_batch(self) -> Any:
        """The next batch; blocks until it is ready."""
        batch, error = self._ready.get()
        if error is not None:
            raise error
        return batch

    def _work(self) -> None:
        for number in self._numbers:
            try:
                item = (self._source.batch(number), None)
            except BaseException as error:
                self._put((None, error))
                return
            if not self._put(item):
                return

    def _put(self, item: tuple[Any, BaseException | None]) -> bool:
        while not self._closing.is_set():
            try:
                self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False
