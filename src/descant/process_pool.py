"""Other processes that call functions on files, and the error when one of them is ended."""

import io
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from typing import Any, ParamSpec, TypeVar

from descant.errors import ProcessLost
from descant.signals import interruption_delayed

STUCK_S = 5.0
"""How long a pool has to notice that one of its processes was ended."""

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def process_pool(
    count: int, begin: Callable[..., None], *arguments: Any, option: str, num_threads: int = 1
) -> Iterator[ProcessPoolExecutor]:
    """So many processes, which end with the block, also after an error; calls that have not begun are given up.

    They start at once, beside what this process does next, and also end when it is killed.

    Args:
        begin: called with ``arguments`` in every new process.
        option: sets ``count`` on the command line.
        num_threads: torch's CPU threads in each process.

    Raises:
        ProcessLost: one of them was ended while the block waited for its results.
    """
    pool = _Pool(count, multiprocessing.get_context("spawn"), _begin, (num_threads, begin, *arguments))
    try:
        for _ in range(count):
            pool.submit(_nothing)  # each starts a process, as none is free yet
        watched = (pool, pool._executor_manager_thread, [*pool._processes.values()])  # type: ignore[attr-defined]
        threading.Thread(target=_break_if_stuck, args=watched, daemon=True).start()
        yield pool
    except BrokenProcessPool as error:
        raise ProcessLost(
            f"one of {count} processes was ended by the system or could not start, most often because memory ran out; "
            f"use fewer of them ({option})"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


class _Pool(ProcessPoolExecutor):
    """Processes that Ctrl-C does not reach, not even while they import what they are to do: their parent ends them."""

    def submit(self, function: Callable[P, T], /, *arguments: P.args, **keywords: P.kwargs) -> Future[T]:
        """The result to come; starts a process while none is free."""
        with interruption_delayed():
            return super().submit(function, *arguments, **keywords)


def _break_if_stuck(pool: ProcessPoolExecutor, manager: threading.Thread, processes: Sequence[BaseProcess]) -> None:
    """Breaks a pool that does not notice that one of its processes was ended.

    A process that is killed while it sends a result leaves a part of it behind. Its pool waits for the rest, which the
    others cannot send either: without them, and without the pool's own end for writing, that wait ends.

    Args:
        manager: the pool's thread that waits for results.
    """
    running = [*processes]
    while running:
        multiprocessing.connection.wait([process.sentinel for process in running])
        codes = {process: process.exitcode for process in running}
        if any(codes.values()):
            break
        running = [process for process in running if codes[process] is None]
    else:
        return
    manager.join(STUCK_S)
    if not manager.is_alive():
        return
    for process in processes:
        process.kill()
    queue = pool._result_queue  # type: ignore[attr-defined]
    # The end of the wait lets another thread close the queue: it must not close the same file once more.
    writer, queue._writer = queue._writer, io.BytesIO()  # type: ignore[attr-defined]
    writer.close()


def _nothing() -> None:
    pass


def _begin(num_threads: int, begin: Callable[..., None], *arguments: Any) -> None:
    # For Windows, where a process does not inherit that its parent ends it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    import torch  # here, so that processes can be started before this one has imported it

    torch.set_num_threads(num_threads)
    begin(*arguments)


def _end_with_parent() -> None:
    # Without this a process whose parent was killed would wait for its next call for ever: all of them hold both ends
    # of the pipe of calls.
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os._exit(1)
