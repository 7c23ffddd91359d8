"""The way of clips through the engine: in line, in the making, and kept. All of it belongs to the event loop."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from typing import Any

from descant.apps.server import rows
from descant.apps.server.asked import check_model
from descant.apps.server.checking import Checks
from descant.apps.server.config import ServerConfig
from descant.apps.server.engine.messages import Message
from descant.apps.server.events import Hub
from descant.apps.server.files import Files
from descant.apps.server.growing import Growing
from descant.apps.server.host import Host
from descant.apps.server.ids import now
from descant.apps.server.keeping import Keeper
from descant.apps.server.metrics import Metrics
from descant.apps.server.open_jobs import Making, OpenJob
from descant.apps.server.parts import Part
from descant.apps.server.problems import Problem, later, of_error, of_refusal
from descant.apps.server.queue import FairQueue
from descant.apps.server.sources import load_sources
from descant.apps.server.speed import Speed
from descant.apps.server.store import Store
from descant.apps.server.tasks import Changes, Tasks


class Production:
    """Makes the clips that are put into its queue.

    Attributes:
        clips: those that are not finished.
        host: keeps the engine.

    Args:
        on_start, on_progress: are called with a job when its first clip goes to the engine, and when it gets on.
        on_finished: is called with a job and the state of a clip that is finished; the clip is gone from the job.
    """

    def __init__(
        self,
        config: ServerConfig,
        store: Store,
        files: Files,
        hub: Hub,
        metrics: Metrics,
        *,
        on_start: Callable[[OpenJob], Coroutine[Any, Any, None]],
        on_progress: Callable[[OpenJob], None],
        on_finished: Callable[[OpenJob], Coroutine[Any, Any, None]],
    ) -> None:
        self._config, self._store, self._files, self._hub, self._metrics = config, store, files, hub, metrics
        self._keeper, self._tasks = Keeper(store, files, hub), Tasks()
        self._on_start, self._on_progress, self._on_finished = on_start, on_progress, on_finished
        self.host = Host(
            config, hub, on_message=self._receive, on_death=self._on_death,
            has_work=lambda: any(clip.is_sent for clip in self.live.values()),
        )  # fmt: skip
        self.check = Checks(store, files, metrics, self.host).check
        self.queue = FairQueue()
        self.clips: dict[str, Making] = {}
        self.live: dict[str, Making] = {}
        self._finishing: dict[str, asyncio.Task[None]] = {}
        self.spawn = self._tasks.spawn
        self.changes = Changes()
        self.growing = Growing(files, self.changes, lambda clip_id: clip_id in self.clips and not self.is_draining)
        self.speed = Speed()
        self.is_draining = False

    async def stop(self) -> None:
        """Ends the engine; listeners get what there is. Jobs that are not done are continued by the next server."""
        self.is_draining = True
        await self.host.stop()
        self.growing.finish_all()
        self.changes.announce()
        await self._tasks.all_done()

    async def format(self) -> tuple[int, int]:
        """Sample rate and channels of what is made here, once the model is loaded."""
        while self.host.last_model is None and not self.is_draining:
            await self.changes.wait()
        if self.host.last_model is None:
            raise later("draining", "this server is shutting down", 5)
        return self.host.last_model["sample_rate_hz"], self.host.last_model["channels"]

    async def finished(self, clip_id: str) -> None:
        """Waits until the files of a clip that has just been completed are written."""
        if clip_id in self._finishing:
            await asyncio.shield(self._finishing[clip_id])

    @property
    def state(self) -> str:
        """The state of the server."""
        return "draining" if self.is_draining else self.host.state

    @property
    def num_busy(self) -> int:
        """Places of the engine that are taken."""
        return sum(clip.num_places for clip in self.live.values())

    async def drain(self, seconds: float) -> None:
        """Takes no new jobs, and waits until the engine has made what it is making, but no longer than this."""
        self.is_draining = True
        self.changes.announce()
        self._hub.publish("server.draining", {})
        deadline = time.monotonic() + seconds
        while self.live and time.monotonic() < deadline:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.changes.wait(), deadline - time.monotonic())
        if self._finishing:
            await asyncio.wait(list(self._finishing.values()))

    async def unload(self) -> None:
        """Frees the memory of the model; the next job loads it again.

        Raises:
            Problem: it has work, or is being loaded.
        """
        if self.live or self.queue:
            raise Problem("wrong-state", "the model is making music; cancel its jobs or wait for them")
        await self.host.unload()

    def enqueue(self, clips: Iterable[Making]) -> None:
        """Puts clips into the queue."""
        for clip in clips:
            clip.job.clips[clip.id] = self.clips[clip.id] = clip
            self.queue.push(clip.job.owner, clip.id)

    def cancel(self, clip: Making) -> None:
        """Ends a clip; what was made is kept."""
        if clip.is_cancelled:
            return
        clip.is_cancelled = True
        if self.queue.remove(clip.id) or not clip.is_sent:
            self._metrics.cancelled.labels("waiting").inc()
            self.finish(clip, None)
        else:
            self._metrics.cancelled.labels("making").inc()
            self.host.send(Message("cancel", clip.id))

    def dispatch(self) -> None:
        """Sends clips to the engine while it has room; one that was ended to free its memory is started for them."""
        if self.queue and not self.is_draining:
            self.host.load()
        while (
            self.host.model is not None
            and not self.is_draining
            and len(self.queue)
            and self._has_room(self.clips[next(self.queue.order())])
        ):
            clip = self.clips[self.queue.pop()]
            self.live[clip.id] = clip
            self.spawn(self._send(clip))

    def _has_room(self, clip: Making) -> bool:
        taken = self.num_busy
        return not taken or taken + clip.num_places <= self.host.num_slots

    async def _send(self, clip: Making) -> None:
        try:
            await self._start(clip.job)
            async with clip.job.changing:
                await self._send_now(clip)
        except Exception as error:
            if clip.id in self.live and not clip.is_cancelled:
                self.finish(clip, of_error(error))

    async def _send_now(self, clip: Making) -> None:
        request, sources, payloads = await self._store.read(lambda db: self._sources(db, clip))
        if clip.id not in self.live or clip.is_cancelled:
            return
        attempt = clip.job.attempt
        fields = {"request": request, "sources": sources, "attempt": attempt, "analyse": request["analyse"]}
        clip.is_sent, clip.began = True, time.monotonic()
        self.host.send(Message("make", clip.id, fields, payloads))

    async def _start(self, job: OpenJob) -> None:
        """Tells that a job is being made, once; nobody hears of the progress of its clips before that."""
        if job.is_running:
            await job.started.wait()
            return
        job.is_running = True
        try:
            started = {"state": "running", "started_at": now(), "attempt": job.attempt}
            await self._store.write(lambda db: rows.update_job(db, job.id, started))
            await self._on_start(job)
        finally:
            job.started.set()

    def _sources(self, db: sqlite3.Connection, clip: Making) -> tuple[dict[str, Any], dict[str, Any], dict[str, bytes]]:
        request = rows.request_of(rows.find(db, "clips", "clip", clip.id, clip.job.owner))
        # Not where it was asked for: the model was being loaded, or this server was started again with another one.
        assert self.host.last_model is not None
        check_model(request, self.host.last_model)
        return request, *load_sources(db, self._files, request, clip.job.owner)

    def _receive(self, message: Message) -> None:
        """Handles a message of the engine."""
        if message.kind == "ready":
            self.changes.announce()
            self.dispatch()
        elif message.kind == "alive":
            for clip_id, made_s in message.fields["made_s"].items():
                if clip_id in self.live:
                    self.live[clip_id].made_s = made_s
                    self._on_progress(self.live[clip_id].job)
        elif message.kind == "measured":
            self.spawn(self._keep_measures(message.clip_id, dict(message.fields)))
        elif message.clip_id in self.live:
            clip = self.live[message.clip_id]
            {
                "begun": self._on_begun,
                "audio": self._on_audio,
                "done": self._on_end,
                "stopped": self._on_end,
                "failed": self._on_failure,
            }[message.kind](clip, message)

    def _on_begun(self, clip: Making, message: Message) -> None:
        given = message.fields
        clip.num_samples = given["num_samples"]
        part = self.growing.begin(clip, given["sample_rate_hz"], given["channels"], self.host.maker)
        model = self.host.last_model or {}
        self.spawn(self._keeper.begun(clip, part, {**given, "model": model.get("id")}))

    def _on_audio(self, clip: Making, message: Message) -> None:
        part = self.growing[clip.id]
        is_first = part.length == 0
        try:
            part.append(message.fields["start"], message.payloads["pcm"])
        except OSError as error:
            self.host.send(Message("cancel", clip.id))
            detail = f"audio cannot be written: {error.strerror}; make room on the disk"
            self.finish(clip, Problem("storage-full", detail))
            return
        clip.made_s = max(clip.made_s, part.num_samples / part.sample_rate_hz)
        if is_first:
            self._metrics.first_audio.observe(time.monotonic() - clip.began)
            self.speed.note_first(time.monotonic() - clip.began)
            data = {"job_id": clip.job.id, "clip_id": clip.id, "index": clip.place}
            self._hub.publish("clip.first_audio", data, clip.job.owner, clip.job.id)
        self._on_progress(clip.job)

    def _on_end(self, clip: Making, message: Message) -> None:
        if message.kind == "done":
            self.speed.note(self.growing[clip.id], time.monotonic() - clip.began, self.num_busy)
        self.finish(clip, None, message)

    def _on_failure(self, clip: Making, message: Message) -> None:
        self.finish(clip, of_refusal(message.fields["refusal"]))

    def _on_death(self, clip_ids: Collection[str] | None) -> None:
        """An engine has died: the clips that it was making, None for all, are made again from the same seeds."""
        detail = "the engine has died and is started again; its jobs go on by themselves"
        self._hub.publish("engine.died", {"problem": Problem("engine-failed", detail).to_dict()})
        self._metrics.deaths.inc()
        died = [clip for clip in self.live.values() if clip.is_sent and (clip_ids is None or clip.id in clip_ids)]
        for job in {clip.job.id: clip.job for clip in died}.values():
            job.attempt, job.deaths = job.attempt + 1, job.deaths + 1
        for clip in reversed(died):
            if clip.is_cancelled:
                self.finish(clip, None)
            elif clip.job.deaths >= self._config.limits.attempts:
                text = f"the engine has died {self._config.limits.attempts} times while it made this clip"
                self.finish(clip, Problem("engine-failed", text))
            else:
                del self.live[clip.id]
                clip.is_sent, clip.made_s = False, 0.0
                self.queue.push_front(clip.job.owner, clip.id)
        self.dispatch()

    def finish(self, clip: Making, problem: Problem | None, message: Message | None = None) -> None:
        """Nothing more is made of a clip: frees its place, and keeps what there is."""
        self.live.pop(clip.id, None)
        part = self.growing.left(clip)
        if part is not None:
            part.finish()
        self._finishing[clip.id] = self.spawn(self._keep(clip, part, problem, message))
        self.changes.announce()
        self.dispatch()

    async def _keep(self, clip: Making, part: Part | None, problem: Problem | None, message: Message | None) -> None:
        """Keeps a clip of which nothing more is made, and tells its job."""
        try:
            state = await self._keeper.finished(clip, part, problem, message)
        except Exception as error:
            state, problem = "failed", of_error(error)
        self.growing.forget(clip.id)
        self.clips.pop(clip.id, None)
        self._finishing.pop(clip.id, None)
        job = clip.job
        del job.clips[clip.id]
        job.states.append(state)
        job.problem = job.problem or problem
        self.changes.announce()
        await self._on_finished(job)

    async def _keep_measures(self, clip_id: str, measures: dict[str, Any]) -> None:
        await self.finished(clip_id)
        await self._keeper.measured(clip_id, measures)
