"""Faults on the way of a job through the server: they end what they concern, say so, and hold up nothing else."""

import asyncio
import os
import signal
import sqlite3
import time

from descant.apps.server import checking
from descant.apps.server.open_jobs import Making, OpenJob
from descant.apps.server.parts import Part
from descant.apps.server.service import DRAIN_S
from descant.apps.server.speed import Speed
from tests.apps.server.conftest import serving, wait_for
from tests.apps.server.paced_engine import RATE_HZ

RECIPE = {"request": {"text": "hello", "duration_s": 1.0}}


def test_a_job_whose_start_cannot_be_written_ends_and_so_does_the_server(tmp_path, monkeypatch):
    """The other clips of such a job once waited for ever, and with them the end of the server."""
    with serving(tmp_path, pace=20.0) as server:
        production = server.service.production
        write, on_start = server.service.store.write, production._on_start

        async def full(job: OpenJob) -> None:
            del job
            raise sqlite3.OperationalError("database or disk is full")

        monkeypatch.setattr(production, "_on_start", full)
        made = server.made(duration_s=0.5, count=2)
        assert [clip["state"] for clip in made["clips"]] == ["failed", "ready"]
        assert made["clips"][0]["problem"]["type"] == "/problems/storage-full"
        monkeypatch.setattr(production, "_on_start", on_start)

        async def broken(work) -> None:
            del work
            raise sqlite3.OperationalError("database or disk is full")

        job = server.submit(duration_s=2.0, text="x [pace 2]")
        wait_for(lambda: server.job(job)["clips"][0]["duration_s"] > 0.1)
        monkeypatch.setattr(server.service.store, "write", broken)
        wait_for(lambda: not server.service.jobs.is_open(job["id"]))
        monkeypatch.setattr(server.service.store, "write", write)
        assert server.made(duration_s=0.5)["state"] == "succeeded"
        began = time.monotonic()
    assert time.monotonic() - began < DRAIN_S / 2


def test_a_job_that_ends_while_its_change_is_checked_is_not_changed(fast, monkeypatch):
    job = fast.submit(text="x [pace 0.2]", duration_s=1.0)
    ended = fast.service.jobs._open[job["id"]].ended

    async def check(owner: str, request: dict) -> bool:
        del owner, request
        await asyncio.wait_for(ended.wait(), 60)
        return True

    monkeypatch.setattr(fast.service.production, "check", check)
    late = fast.client.patch(job["urls"]["self"], json={"sections": [{"start_s": 0.9, "text": "x"}]})
    assert (late.status_code, late.json()["type"]) == (409, "/problems/wrong-state")


def test_a_choice_that_is_being_made_is_not_changed(fast):
    job = fast.submit(text="x [pace 0.1]", duration_s=10.0, best_of=2)
    wait_for(lambda: fast.job(job)["state"] == "running")
    late = fast.client.patch(job["urls"]["self"], json={"sections": [{"start_s": 9.0, "text": "x"}]})
    assert (late.status_code, late.json()["type"]) == (409, "/problems/wrong-state")
    fast.client.post(job["urls"]["cancel"])


def test_an_engine_that_does_not_answer_is_asked_few_questions_until_it_dies(fast, monkeypatch):
    monkeypatch.setattr(checking, "TIMEOUT_S", 0.2)
    host, asked = fast.service.production.host, []
    monkeypatch.setattr(host.questions, "_send", asked.append)
    answers = [fast.client.post("/v1/recipes/check", json=RECIPE).json() for _ in range(5)]
    assert len(asked) == checking.CHECKS
    assert all(not one["is_exact"] and len(one["notes"]) == 1 for one in answers)
    metrics = fast.client.get("/metrics").text
    assert 'descant_unchecked_total{why="no-answer"} 2.0' in metrics
    assert 'descant_unchecked_total{why="busy"} 3.0' in metrics
    monkeypatch.undo()
    os.kill(host.link.pid, signal.SIGKILL)
    wait_for(lambda: host.state != "ready")
    fast.wait_ready()
    for _ in range(checking.CHECKS + 1):
        assert fast.client.post("/v1/recipes/check", json=RECIPE).json()["is_exact"]


def test_a_recipe_with_adapters_is_not_called_exact(fast):
    given = {"request": {**RECIPE["request"], "adapters": [{"name": "loud"}]}}
    answer = fast.client.post("/v1/recipes/check", json=given).json()
    assert not answer["is_exact"]
    assert "adapters" in answer["notes"][0]


def test_a_clip_of_four_candidates_is_estimated_like_four_clips(tmp_path):
    part = Part(tmp_path / "part", RATE_HZ, 1)
    part.append(0, bytes(2 * RATE_HZ))
    part.finish()

    def estimates(best_of: int, count: int) -> tuple[float | None, float | None, float]:
        job = OpenJob("job", "owner", {"best_of": best_of}, attempt=1)
        clips = [Making(f"clip{place}", job, place, num_samples=10 * RATE_HZ, made_s=2.0) for place in range(count)]
        speed = Speed()
        speed.note(part, 6.0, sum(clip.num_places for clip in clips))
        return speed.real_time_factor, speed.seconds_until(clips, 8.0), speed.seconds_to_a_place(clips)

    assert estimates(4, 1) == estimates(1, 4)
    assert estimates(4, 1)[0] == 1.5


def test_clips_of_a_few_samples_say_little_about_the_speed(tmp_path):
    """One sample took half a second, and the next jobs were said to wait for minutes."""
    short, long = Part(tmp_path / "short", RATE_HZ, 1), Part(tmp_path / "long", RATE_HZ, 1)
    short.append(0, bytes(2))
    long.append(0, bytes(2 * 10 * RATE_HZ))
    speed = Speed()
    for part, seconds in ((short, 0.5), (long, 4.0), (short, 0.5), (short, 0.5)):
        speed.note(part, seconds, num_places=1)
    short.finish()
    long.finish()
    assert 0.3 < speed.real_time_factor < 1.0
