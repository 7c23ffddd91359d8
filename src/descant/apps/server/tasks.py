"""Work in the background of the event loop, and waiting for what it changes."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

_log = logging.getLogger("descant.server")


class Changes:
    """Something that changes; whoever waits looks again after each change."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def announce(self) -> None:
        """Lets everybody look again who waits."""
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self) -> None:
        """Returns after the next change."""
        await self._next.wait()


class Tasks:
    """Tasks that nobody waits for; an error of ours in one is logged."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Runs ``work`` in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._on_end)
        return task

    async def all_done(self) -> None:
        """Waits until no task is left, those too that tasks have begun."""
        while self._running:
            await asyncio.wait(list(self._running))

    def cancel_all(self) -> None:
        """Ends all tasks."""
        for task in self._running:
            task.cancel()

    def _on_end(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("a background task failed", exc_info=task.exception())
