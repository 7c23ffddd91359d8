"""The server's end of the engine: starts its process, and again when it has died, and passes messages both ways."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress

from descant.apps.server.engine.messages import Message, receive_message
from descant.errors import CheckpointError

CRASHES, WITHIN_S = 5, 60.0
"""So many crashes within so long are no accident: the server gives up."""
STOPPING_S = 5.0

_log = logging.getLogger("descant.server")


class EngineLink:
    """An engine that is there as long as the server is, apart from times when nobody wants it.

    Args:
        command: starts the process.
        silence_s: how long an engine with work may say nothing.
        on_message: gets every message.
        on_death: is called, with None for all clips, when a process has ended that nobody asked to; another is started.
    """

    def __init__(
        self,
        command: tuple[str, ...],
        silence_s: float,
        on_message: Callable[[Message], None],
        on_death: Callable[[None], None],
    ) -> None:
        self._command, self._silence_s = command, silence_s
        self._on_message, self._on_death = on_message, on_death
        self._process: asyncio.subprocess.Process | None = None
        self._asked_to_end: asyncio.subprocess.Process | None = None
        self._is_stopping = False
        self._is_wanted = asyncio.Event()
        self._is_wanted.set()
        self._heard_at = time.monotonic()
        self.has_work: Callable[[], bool] = lambda: False

    @property
    def pid(self) -> int | None:
        """The engine's process; None between two."""
        return None if self._process is None else self._process.pid

    @property
    def num_engines(self) -> int:
        """Engines that are there or on their way."""
        return 0 if self._process is None else 1

    @property
    def silent_s(self) -> float:
        """Seconds since it has last said something."""
        return time.monotonic() - self._heard_at

    def send(self, message: Message) -> None:
        """Sends a message; to an engine that has just died it is lost, and ``on_death`` follows."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.write(message.to_bytes())

    async def run(self) -> None:
        """Keeps an engine running until ``stop``.

        Raises:
            CheckpointError: its model cannot be loaded, or it crashes again and again.
        """
        crashes: list[float] = []
        while not self._is_stopping:
            process = await self._run_once()
            if self._is_stopping:
                return
            # Not whether one is wanted now: a job may have asked for the next one before this one has ended.
            if process is self._asked_to_end:
                await self._is_wanted.wait()
                continue
            now = time.monotonic()
            crashes = [at for at in crashes if now - at < WITHIN_S] + [now]
            self._on_death(None)
            if len(crashes) >= CRASHES:
                raise CheckpointError(
                    f"the engine has ended {CRASHES} times within {WITHIN_S:g} s; its last words are above"
                )

    async def stop(self) -> None:
        """Ends the engine for good."""
        self._is_stopping = True
        self._is_wanted.set()
        await self._close()

    async def unload(self) -> None:
        """Ends the engine until ``load``."""
        self._is_wanted.clear()
        await self._close()

    def load(self) -> None:
        """Starts the engine again."""
        self._is_wanted.set()

    async def _close(self) -> None:
        """Ends the process: by closing its pipe, and by force if that is not enough."""
        process = self._process
        if process is None:
            return
        self._asked_to_end = process
        if process.stdin is not None:
            process.stdin.close()
        await self._ended(process)

    def kill(self) -> None:
        """Ends the engine's process at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _run_once(self) -> asyncio.subprocess.Process:
        """Runs a process to its end."""
        pipe = asyncio.subprocess.PIPE
        # A file for its standard output has room for large messages: the pipe's reader takes them as they come.
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=pipe,
            stdout=pipe,
            limit=2**20,
            start_new_session=True,  # Ctrl-C is for the server, also while the engine imports
        )
        self._process, self._heard_at = process, time.monotonic()
        if self._is_stopping:  # asked for while there was no process to end
            self.kill()
        watching = asyncio.create_task(self._watch())
        assert process.stdout is not None
        try:
            while (message := await receive_message(process.stdout)) is not None:
                self._heard_at = time.monotonic()
                if message.kind == "unusable":
                    raise CheckpointError(message.fields["detail"])
                self._on_message(message)
        except ValueError as error:
            _log.error("the engine's messages are broken: %s", error)
            self.kill()
        finally:
            watching.cancel()
            await self._ended(process)
            self._process = None
        return process

    async def _ended(self, process: asyncio.subprocess.Process) -> None:
        """Waits for the end of a process, and forces it if that takes too long."""
        try:
            await asyncio.wait_for(process.wait(), STOPPING_S)
        except asyncio.TimeoutError:
            self.kill()
            await process.wait()

    async def _watch(self) -> None:
        """Ends an engine that has work and says nothing."""
        while True:
            await asyncio.sleep(min(1.0, self._silence_s / 4))
            if not self.has_work():
                self._heard_at = time.monotonic()
            elif self.silent_s > self._silence_s:
                _log.error("the engine has said nothing for %.0f s and is started again", self.silent_s)
                self.kill()
