"""The parts of a server, and their life from start to end."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, Request

from descant.apps.server.auth import Access
from descant.apps.server.config import ServerConfig
from descant.apps.server.events import Hub
from descant.apps.server.files import Files
from descant.apps.server.idempotency import Idempotency
from descant.apps.server.jobs import Jobs
from descant.apps.server.metrics import Metrics
from descant.apps.server.problems import Problem
from descant.apps.server.readers import Readers
from descant.apps.server.schemas import JobRequest
from descant.apps.server.storage import Storage
from descant.apps.server.store import Store
from descant.folder_lock import locked

DRAIN_S = 60.0
DECODERS = 2
"""Uploads that are decoded at the same time."""

_log = logging.getLogger("descant.server")


class Service:
    """One server on one folder."""

    def __init__(self, config: ServerConfig) -> None:
        self.config = config
        self.files = Files(config.folder)
        self.store = Store(config.folder)
        self.hub = Hub()
        self.metrics = Metrics()
        self.access = Access(config)
        self.jobs = Jobs(config, self.store, self.files, self.hub, self.metrics)
        self.idempotency = Idempotency(self.store)
        self.readers = Readers(config.limits.streams_per_owner, self.metrics)
        self.storage = Storage(config, self.store, self.files, self.hub)
        self.decoding = asyncio.Semaphore(DECODERS)
        self.transcribing = asyncio.Lock()
        self.production = self.jobs.production
        self.failure: Exception | None = None
        self.failed = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def running(cls, config: ServerConfig) -> AsyncIterator["Service"]:
        """A server whose engine runs until the end of the block."""
        async with AsyncExitStack() as stack:
            stack.enter_context(locked(config.folder))
            service = cls(config)
            stack.callback(service.store.close)
            service.sweep()
            service.jobs.recover()
            running = asyncio.create_task(service._run())
            tidying = asyncio.create_task(service.storage.keep_tidy())
            try:
                yield service
            finally:
                tidying.cancel()
                service.hub.close()
                await service.production.stop()
                await running

    async def submit(self, owner: str, asked: JobRequest) -> dict[str, Any]:
        """Adds a job to the queue, and gives it as in the protocol.

        Raises:
            Problem: it is wrong, or there is no room in the queue or on the disk.
        """
        # Asked first, since it costs nothing: a server with a full queue has many to refuse.
        self.jobs.require_place(owner)
        await self.storage.require_room()
        return await self.jobs.submit(owner, asked)

    def sweep(self) -> None:
        """Removes files that an earlier server has left and that belong to nothing."""

        def ids(db: Any) -> tuple[set[str], set[str], set[str]]:
            clips = {row["id"] for row in db.execute("SELECT id FROM clips")}
            open_clips = {row["id"] for row in db.execute("SELECT id FROM clips WHERE state IN ('waiting', 'making')")}
            return clips, open_clips, {row["id"] for row in db.execute("SELECT id FROM uploads")}

        removed = self.files.sweep(*self.store.write_now(ids))
        if removed:
            _log.info("%d files that belonged to nothing were removed", removed)

    async def refresh_metrics(self) -> None:
        """Brings the numbers up to date that are states and not counts."""
        production, metrics = self.production, self.metrics
        metrics.queue_depth.set(len(production.queue))
        metrics.slots.labels("busy").set(production.num_busy)
        metrics.slots.labels("free").set(max(0, production.host.num_slots - production.num_busy))
        metrics.event_readers.set(self.hub.listeners)
        for kind, size in (await self.storage.object())["by_kind"].items():
            metrics.storage.labels(kind).set(size)
        if production.speed.real_time_factor is not None:
            metrics.real_time_factor.set(production.speed.real_time_factor)

    async def _run(self) -> None:
        try:
            await self.production.host.run()
        except Exception as error:
            self.failure = error
            problem = Problem("not-ready", "the engine cannot run; the log says why")
            self.hub.publish("model.failed", {"model": self.config.model, "problem": problem.to_dict()})
            self.failed.set()


def service_of(request: Request) -> Service:
    """The server that a request has reached."""
    return request.app.state.service  # type: ignore[no-any-return]


async def _service(request: Request) -> Service:
    return service_of(request)


Parts = Annotated[Service, Depends(_service)]
