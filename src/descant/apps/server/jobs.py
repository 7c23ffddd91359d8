"""Jobs: their queue, their way through the engine, and what becomes of them. All of it belongs to the event loop."""

import asyncio
import contextlib
import json
import math
import sqlite3
from typing import Any

from descant.apps.server import rows
from descant.apps.server.asked import asked_s, check_limits, checked, seeds_of
from descant.apps.server.config import ServerConfig
from descant.apps.server.events import Hub
from descant.apps.server.files import Files
from descant.apps.server.ids import new_id, now
from descant.apps.server.metrics import Metrics
from descant.apps.server.open_jobs import Making, OpenJob
from descant.apps.server.problems import Problem, at_fault, later, of_members
from descant.apps.server.production import Production
from descant.apps.server.questions import CHANGE_TIMEOUT_S
from descant.apps.server.schemas import JobRequest
from descant.apps.server.sources import check_sources, note_used
from descant.apps.server.store import Store

NOT_BEFORE_S = 1.0
"""A section must begin at least so long after what is made."""


class Jobs:
    """The jobs of a server."""

    def __init__(self, config: ServerConfig, store: Store, files: Files, hub: Hub, metrics: Metrics) -> None:
        self._config, self._store, self._hub, self._metrics = config, store, hub, metrics
        self._open: dict[str, OpenJob] = {}
        self.production = Production(
            config, store, files, hub, metrics,
            on_start=lambda job: self._publish("job.started", job),
            on_progress=self._tell_progress,
            on_finished=self._on_finished,
        )  # fmt: skip

    async def submit(self, owner: str, asked: JobRequest) -> dict[str, Any]:
        """Adds a job to the queue.

        Raises:
            Problem: it is wrong, or there is no room.
        """
        self.require_place(owner)
        job = checked(asked, self._config.limits, self.production.host.last_model)
        seconds, seeds = asked_s(job), seeds_of(job)
        job_id, created_at = new_id("job"), now()
        clip_ids = [new_id("clip") for _ in seeds]
        # The room is taken before anything is waited for, so that many requests at once cannot share one place.
        open_job = OpenJob(job_id, owner, job, attempt=1)
        self._open[job_id] = open_job

        def add(db: sqlite3.Connection) -> None:
            note_used(db, job)
            values = {"id": job_id, "owner": owner, "state": "queued", "request": json.dumps(job)}
            values |= {"seeds": json.dumps(seeds), "label": job["label"], "created_at": created_at}
            rows.insert(db, "jobs", values)
            for place, (clip_id, seed) in enumerate(zip(clip_ids, seeds, strict=True)):
                one = {**job, "seed": seed, "count": 1}
                clip = {"id": clip_id, "owner": owner, "job_id": job_id, "place": place, "state": "waiting"}
                clip |= {"request": json.dumps(one), "text": job["text"], "seed": seed, "created_at": created_at}
                clip |= {"model": job["model"] or self._config.model, "asked_s": seconds, **parent}
                rows.insert(db, "clips", clip)
                rows.index_words(db, db.execute("SELECT * FROM clips WHERE id = ?", (clip_id,)).fetchone())

        try:
            parent = await self._store.read(lambda db: check_sources(db, job, owner))
            await self.production.check(owner, job)
            await self._store.write(add)
        except BaseException:
            del self._open[job_id]
            raise
        self.production.enqueue([Making(clip_id, open_job, place) for place, clip_id in enumerate(clip_ids)])
        answer = await self.get(owner, job_id)
        self._hub.publish("job.queued", {"job": answer}, owner, job_id)
        self.production.dispatch()
        return answer

    async def get(self, owner: str, job_id: str) -> dict[str, Any]:
        """A job as in the protocol."""
        row, clips = await self._store.read(
            lambda db: (rows.find(db, "jobs", "job", job_id, owner), rows.clips_of(db, job_id))
        )
        return self.object(row, clips)

    def object(self, row: sqlite3.Row, clips: list[sqlite3.Row]) -> dict[str, Any]:
        """A job as in the protocol, from its row and those of its clips."""
        queue = self._place(row["id"]) if row["state"] == "queued" else None
        return rows.job_object(row, [self.clip_object(clip) for clip in clips], queue)

    def clip_object(self, row: sqlite3.Row) -> dict[str, Any]:
        """A clip as in the protocol, from its row."""
        return rows.clip_object(row, self.production.growing.num_samples())

    async def wait(self, job_id: str, seconds: float) -> bool:
        """Waits until a job has ended, but no longer than this; True if it has."""
        job = self._open.get(job_id)
        if job is None:
            return True
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(job.ended.wait(), seconds)
        return job.ended.is_set()

    async def cancel(self, owner: str, job_id: str) -> dict[str, Any]:
        """Ends a job; nothing happens if it has ended. What was made of its clips is kept."""
        await self._store.read(lambda db: rows.find(db, "jobs", "job", job_id, owner))
        job = self._open.get(job_id)
        for clip in [] if job is None else list(job.clips.values()):
            self.production.cancel(clip)
        if job is not None:
            await self.wait(job_id, CHANGE_TIMEOUT_S)
        return await self.get(owner, job_id)

    async def change(self, owner: str, job_id: str, sections: list[dict[str, Any]]) -> dict[str, Any]:
        """Replaces the sections of a job that are still to come.

        Raises:
            Problem: the job has ended, is a loop or a choice that has begun, or the music has passed a section.
        """
        await self._store.read(lambda db: rows.find(db, "jobs", "job", job_id, owner))
        job = self._changeable(job_id)
        kept = {**job.request, "sections": sections}
        check_limits(kept, self._config.limits)
        asked_s(kept)
        await self.production.check(owner, kept)
        async with job.changing:
            await self._change(self._changeable(job_id), sections)  # still, after the wait
        answer = await self.get(owner, job_id)
        self._hub.publish("job.changed", {"job": answer}, owner, job_id)
        return answer

    async def _change(self, job: OpenJob, sections: list[dict[str, Any]]) -> None:
        live = [clip for clip in job.clips.values() if clip.is_sent and not clip.is_cancelled]
        furthest = max((clip.made_s for clip in live), default=0.0)
        if sections and live and sections[0]["start_s"] < furthest + NOT_BEFORE_S:
            earliest = math.ceil(100 * (furthest + NOT_BEFORE_S)) / 100
            detail = f"{furthest:.2f} s are made; the first section must begin at {earliest:.2f} s or later"
            raise at_fault("/sections/0/start_s", detail, "too-late", earliest_s=earliest)
        answers = await asyncio.gather(*[self.production.host.questions.change(clip.id, sections) for clip in live])
        applied = answers[-1] if answers else sections
        clip_ids = list(job.clips)
        job.request = {**job.request, "sections": applied}

        def keep(db: sqlite3.Connection) -> None:
            rows.update_job(db, job.id, {"request": json.dumps(job.request)})
            for clip_id in clip_ids:
                found = db.execute("SELECT request FROM clips WHERE id = ?", (clip_id,)).fetchone()
                one = {**rows.request_of(found), "sections": applied}
                rows.update_clip(db, clip_id, {"request": json.dumps(one)})

        await self._store.write(keep)

    def _changeable(self, job_id: str) -> OpenJob:
        """The job, if its sections can change now.

        Raises:
            Problem: they cannot.
        """
        job = self._open.get(job_id)
        if job is None:
            reason = "it has ended"
        elif job.request["loop"] is not None:
            reason = "a loop has one text"
        elif job.is_running and job.request["best_of"] > 1:
            reason = "the candidates of best_of have the texts that they began with"
        else:
            return job
        raise Problem("wrong-state", f"the sections of job {job_id} cannot change: {reason}")

    def is_open(self, job_id: str) -> bool:
        """Whether a job has not ended."""
        return job_id in self._open

    def recover(self) -> None:
        """Continues the jobs that an earlier server has left."""

        def found(db: sqlite3.Connection) -> list[tuple[sqlite3.Row, list[sqlite3.Row]]]:
            db.execute("UPDATE jobs SET attempt = attempt + 1 WHERE state = 'running'")
            db.execute("UPDATE jobs SET state = 'queued' WHERE state = 'running'")
            db.execute("UPDATE clips SET state = 'waiting' WHERE state = 'making'")
            left = db.execute("SELECT * FROM jobs WHERE state = 'queued' ORDER BY number").fetchall()
            return [(row, rows.clips_of(db, row["id"])) for row in left]

        for row, clips in self._store.write_now(found):
            job = OpenJob(row["id"], row["owner"], rows.request_of(row), row["attempt"])
            self._open[job.id] = job
            job.states = [clip["state"] for clip in clips if clip["state"] in rows.FINISHED]
            told = [json.loads(clip["problem"]) for clip in clips if clip["problem"] is not None]
            job.problem = of_members(told[0]) if told else None
            waiting = [_left(job, clip) for clip in clips if clip["state"] == "waiting"]
            self.production.enqueue(waiting)
            if not waiting:
                self.production.spawn(self._on_finished(job))

    def require_place(self, owner: str) -> None:
        """Refuses a job for which there is no place in the queue.

        Raises:
            Problem: the queue is full, or the server is shutting down.
        """
        if self.production.is_draining:
            raise later("draining", "this server is shutting down; try again when it is back", 5)
        limits = self._config.limits
        waiting = [job for job in self._open.values() if not job.is_running]
        own = sum(job.owner == owner for job in waiting)
        if len(waiting) >= limits.queue or own >= limits.queue_per_owner:
            self._metrics.rejected.labels("queue-full").inc()
            whose = "the queue" if len(waiting) >= limits.queue else "your queue"
            number = limits.queue if len(waiting) >= limits.queue else limits.queue_per_owner
            raise later(
                "queue-full",
                f"{whose} has {number} jobs",
                self.production.speed.seconds_to_a_place(self.production.live.values()),
            )

    async def _on_finished(self, job: OpenJob) -> None:
        """A clip of a job is finished, and with the last one the job."""
        if job.clips:
            return
        if all(state == "ready" for state in job.states):
            state = "succeeded"
        else:
            state = "failed" if job.problem is not None or "failed" in job.states else "cancelled"
        problem = None if job.problem is None else json.dumps(job.problem.to_dict())
        values = {"state": state, "problem": problem, "finished_at": now(), "attempt": job.attempt}
        try:
            await self._store.write(lambda db: rows.update_job(db, job.id, values))
        finally:  # one that cannot be written down has ended too; the next server finds it unfinished
            del self._open[job.id]
            job.ended.set()
        self._metrics.jobs.labels(state).inc()
        await self._publish(f"job.{state}", job)

    async def _publish(self, kind: str, job: OpenJob) -> None:
        self._hub.publish(kind, {"job": await self.get(job.owner, job.id)}, job.owner, job.id)

    def _tell_progress(self, job: OpenJob) -> None:
        progress = job.progress()
        if progress is not None:
            self._hub.publish("job.progress", progress, job.owner, job.id)

    def _place(self, job_id: str) -> dict[str, Any]:
        """Where a job is in the queue."""
        order = list(dict.fromkeys(self.production.clips[clip_id].job.id for clip_id in self.production.queue.order()))
        position = order.index(job_id) + 1 if job_id in order else len(order) + 1
        ahead = [self._open[id] for id in order[: position - 1]]
        clips = [clip for job in ahead for clip in job.clips.values() if clip.id not in self.production.live]
        seconds = sum((asked_s(clip.job.request) * clip.num_places for clip in clips), 0.0)
        return {
            "position": position,
            "starts_in_s": self.production.speed.seconds_until(self.production.live.values(), seconds),
        }


def _left(job: OpenJob, row: sqlite3.Row) -> Making:
    """A clip that an earlier server has not finished."""
    made_as = None if row["sample_rate_hz"] is None else (row["sample_rate_hz"], row["channels"])
    return Making(row["id"], job, row["place"], maker=row["maker"], format=made_as)
