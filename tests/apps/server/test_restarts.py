"""Engines that die, start late or are replaced, and servers that are started again: what becomes of the jobs."""

import sqlite3
from pathlib import Path

from descant.apps.server.store import NAME
from tests.apps.server.conftest import Running, serving, stream_of, wait_for
from tests.apps.server.paced_engine import RATE_HZ, pcm_of
from tests.apps.server.paced_server import paced_config


def test_a_dead_engine_is_replaced_and_listeners_hear_the_same_music(tmp_path):
    with serving(tmp_path, pace=4.0) as server:
        clip = server.submit(text="x [die 1.5]", duration_s=3.0, seed=5)["clips"][0]
        assert stream_of(server.client, clip) == pcm_of(5, [], 3 * RATE_HZ)
        wait_for(lambda: server.job(clip["job_id"])["state"] == "succeeded")
        assert server.job(clip["job_id"])["attempt"] == 2
        assert "descant_engine_deaths_total 1.0" in server.client.get("/metrics").text


def test_a_job_that_kills_every_engine_fails_and_keeps_what_was_made(tmp_path):
    with serving(tmp_path, pace=20.0) as server:
        failed = server.made(text="x [die-always 0.5]", duration_s=2.0, seed=5)
        assert (failed["state"], failed["attempt"]) == ("failed", 4)
        assert failed["problem"]["type"] == "/problems/engine-failed"
        clip = failed["clips"][0]
        assert (clip["state"], clip["duration_s"]) == ("partial", 0.5)
        assert server.wait_ready().made(duration_s=0.5)["state"] == "succeeded"


def test_an_engine_that_is_silent_is_replaced(tmp_path):
    with serving(tmp_path, pace=10.0, limits={"silence_s": 4.0, "attempts": 1}) as server:
        failed = server.made(text="[hang 0.5]", duration_s=2.0)
        assert failed["clips"][0]["problem"]["type"] == "/problems/engine-failed"
        assert server.wait_ready().made(duration_s=0.5)["state"] == "succeeded"


def test_a_failure_of_one_clip_says_so(fast):
    failed = fast.made(text="[fail 0.5]", duration_s=2.0)
    assert failed["state"] == "failed"
    assert failed["clips"][0]["problem"]["type"] == "/problems/engine-failed"


def test_a_restart_loses_nothing_and_continues_what_was_being_made(tmp_path):
    with serving(tmp_path, pace=0.5, limits={"slots": 1}) as server:
        finished = server.clip(duration_s=0.5, seed=1)
        job = server.submit(duration_s=6.0, seed=2, count=2)
        wait_for(lambda: server.job(job)["clips"][0]["duration_s"] > 1)
    with serving(tmp_path, pace=50.0) as server:
        wait_for(lambda: server.job(job)["state"] == "succeeded")
        for seed, clip in zip((2, 3), server.job(job)["clips"], strict=True):
            assert stream_of(server.client, clip) == pcm_of(seed, [], 6 * RATE_HZ)
        assert stream_of(server.client, finished) == pcm_of(1, [], RATE_HZ // 2)
        assert server.job(job)["attempt"] == 2
        assert not list((tmp_path / "parts").iterdir())


def test_a_job_says_after_a_restart_why_a_clip_of_it_had_failed(tmp_path):
    with serving(tmp_path, pace=2.0, limits={"slots": 1}) as server:
        job = server.submit(text="[fail 0.2] [pace 0.1]", duration_s=1.0, count=2)
        wait_for(lambda: server.job(job)["clips"][0]["state"] == "partial")
    with sqlite3.connect(tmp_path / NAME) as db:  # the other clip of it would fail, too
        db.execute("UPDATE clips SET request = replace(request, '[fail 0.2] [pace 0.1]', 'x') WHERE state != 'partial'")
    with serving(tmp_path, pace=2.0) as server:
        wait_for(lambda: server.job(job)["state"] == "failed")
        assert server.job(job)["problem"]["type"] == "/problems/engine-failed"


def test_an_unloaded_model_is_loaded_for_the_next_job(tmp_path):
    with serving(tmp_path, pace=50.0) as server:
        job = server.submit(duration_s=60.0)
        wait_for(lambda: server.job(job)["state"] == "running")
        assert server.client.post("/v1/models/paced/unload").json()["type"] == "/problems/wrong-state"
        server.client.post(f"/v1/jobs/{job['id']}/cancel")
        pid = server.service.production.host.link.pid
        assert server.client.post("/v1/models/paced/unload").json()["loaded"] is False
        assert not Path(f"/proc/{pid}").exists()
        assert server.client.get("/v1/server").json()["state"] == "unloaded"
        assert server.client.get("/health/ready").json() == {"status": "unloaded"}
        assert server.made(seed=3)["state"] == "succeeded"
        assert server.client.get("/v1/models/paced").json()["loaded"] is True
        server.client.post("/v1/models/paced/unload")
        assert server.client.post("/v1/models/paced/load").status_code == 200
        assert server.client.post("/v1/models/paced/unload").json()["type"] == "/problems/not-ready"
        server.wait_ready()
        server.client.post("/v1/models/paced/unload")
        assert server.client.post("/v1/models/other/unload").status_code == 404


def test_while_the_engine_starts_jobs_are_queued_unchecked(tmp_path):
    config = paced_config(tmp_path, load_s=1.5, pace=50.0)
    server = Running(config)
    try:
        assert server.submit(text="[refuse]")["state"] == "queued"
        assert server.client.get("/health/ready").status_code == 503
    finally:
        server.stop()


def test_what_another_engine_has_begun_is_made_anew_after_a_restart(tmp_path):
    """A clip was once half of one model and half of another, under the name of the first."""
    with serving(tmp_path, pace=0.5, limits={"slots": 2}) as server:
        jobs = [server.submit(duration_s=6.0, seed=seed) for seed in (2, 8)]
        wait_for(lambda: all(server.job(job)["clips"][0]["duration_s"] > 1 for job in jobs))
    server = Running(paced_config(tmp_path, pace=50.0, load_s=2.0, precision="bf16"))
    try:
        # While this engine is loading: what there is was made by the other one.
        server.client.post(jobs[1]["urls"]["cancel"])
        assert server.job(jobs[1])["clips"][0]["state"] == "partial"
        content = stream_of(server.client, jobs[1]["clips"][0])
        assert RATE_HZ < len(content) < 2 * 6 * RATE_HZ
        assert content == pcm_of(8, [], 6 * RATE_HZ)[: len(content)]
        wait_for(lambda: server.job(jobs[0])["state"] == "succeeded")
        assert stream_of(server.client, jobs[0]["clips"][0]) == pcm_of(3, [], 6 * RATE_HZ)
    finally:
        server.stop()


def test_a_job_for_another_model_fails_also_where_none_was_loaded_when_it_came(tmp_path):
    """It was once made by the model that was there, under the name of the other one."""
    server = Running(paced_config(tmp_path, load_s=1.0, pace=50.0))
    try:
        jobs = [server.submit(model="other"), server.submit()]
        wait_for(lambda: all(server.job(job)["state"] in ("failed", "succeeded") for job in jobs))
        assert server.job(jobs[0])["problem"]["type"] == "/problems/model-cannot"
        assert server.job(jobs[1])["clips"][0]["model"] == "paced"
    finally:
        server.stop()
