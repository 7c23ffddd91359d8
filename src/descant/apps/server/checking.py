"""Requests that the engine checks, as the model sees them, before they are queued: a few at a time."""

import asyncio
import logging
from typing import Any

from descant.apps.server.files import Files
from descant.apps.server.host import Host
from descant.apps.server.metrics import Metrics
from descant.apps.server.sources import load_sources
from descant.apps.server.store import Store

CHECKS = 2
"""Requests that the engine is asked to check at the same time; each may come with minutes of audio."""
TIMEOUT_S = 5.0
"""For a place among these, and again for the answer."""

_log = logging.getLogger("descant.server")


class Checks:
    """Has the engine check requests. A check takes its place until the engine has answered or died, also when nobody
    waits for the answer any more: so neither process ever holds the audio of more than ``CHECKS``.
    """

    def __init__(self, store: Store, files: Files, metrics: Metrics, host: Host) -> None:
        self._store, self._files, self._metrics, self._host = store, files, metrics, host
        self._places = asyncio.Semaphore(CHECKS)

    async def check(self, owner: str, request: dict[str, Any]) -> bool:
        """Whether the engine has checked a request. One that is not there, or does not answer in time, has not; if the
        model cannot do what is asked, the job then fails when it is to be made.

        Raises:
            Problem: the model refuses it.
        """
        if self._host.model is None:
            return self._unchecked("no-engine")
        try:
            await asyncio.wait_for(self._places.acquire(), TIMEOUT_S)
        except asyncio.TimeoutError:
            return self._unchecked("busy")
        answer = None
        try:
            sources, payloads = await self._store.read(lambda db: load_sources(db, self._files, request, owner))
            if self._host.model is None:
                return self._unchecked("no-engine")
            answer = self._host.questions.check(request, sources, payloads)
            answer.add_done_callback(lambda _: self._places.release())
        finally:
            if answer is None:
                self._places.release()
        if await self._host.questions.answered(answer, TIMEOUT_S) is None:
            return self._unchecked("no-answer")
        return True

    def _unchecked(self, why: str) -> bool:
        self._metrics.unchecked.labels(why).inc()
        _log.info("a request goes on unchecked: %s", why)
        return False
