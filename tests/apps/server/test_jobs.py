"""Jobs: what is asked for is made, streamed, kept and found again; it can be cancelled and changed on the way."""

import asyncio
import json
import random
import sqlite3
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from descant.apps.server.store import NAME
from tests.apps.server.conftest import Running, events_of, serving, wait_for
from tests.apps.server.paced_engine import RATE_HZ, codes_of, pcm_of
from tests.apps.server.paced_server import paced_config


def stream_of(client: httpx.Client, clip: dict, **query) -> bytes:
    return client.get(clip["urls"]["stream"], params=query).content


def test_a_job_becomes_clips_with_successive_seeds(fast):
    job = fast.submit(count=3, seed=7, duration_s=2.0, label="scene")
    assert (job["state"], job["seeds"], job["label"]) == ("queued", [7, 8, 9], "scene")
    assert [clip["index"] for clip in job["clips"]] == [0, 1, 2]
    assert job["request"]["guidance"] == {"scale": 3.0, "text_scale": None, "melody_scale": None, "schedule": []}
    streams = [stream_of(fast.client, clip) for clip in job["clips"]]
    assert streams == [pcm_of(seed, [], 2 * RATE_HZ) for seed in (7, 8, 9)]
    wait_for(lambda: fast.job(job)["state"] == "succeeded")
    for clip in fast.job(job)["clips"]:
        assert (clip["state"], clip["duration_s"], clip["sample_rate_hz"]) == ("ready", 2.0, RATE_HZ)


def test_the_joined_stream_is_the_stored_clip_for_any_chunking(fast, tmp_path):
    clip = fast.submit(duration_s=1.3, seed=3)["clips"][0]
    whole = stream_of(fast.client, clip)
    file = tmp_path / "a.flac"
    wait_for(lambda: fast.client.get(clip["urls"]["self"]).json()["state"] == "ready")
    file.write_bytes(fast.client.get(clip["urls"]["audio"], params={"format": "flac"}).content)
    assert soundfile.read(file, dtype="int16")[0].astype("<i2").tobytes() == whole
    draw = random.Random(1)
    for _ in range(20):
        start_s = draw.choice([0.0, draw.uniform(0, 1.3)])
        size = draw.choice([1, 7, 4_097, 65_536])
        with fast.client.stream("GET", clip["urls"]["stream"], params={"start_s": start_s}) as answer:
            joined = b"".join(answer.iter_bytes(size))
        assert joined == whole[2 * round(start_s * RATE_HZ) :]


def test_every_listener_of_a_growing_clip_hears_all_of_it_and_a_stalled_one_blocks_nobody(tmp_path):
    with serving(tmp_path, pace=4.0) as server:
        clip = server.submit(duration_s=6.0, seed=1)["clips"][0]
        with server.client.stream("GET", clip["urls"]["stream"]) as stalled:
            blocks = stalled.iter_bytes(1_000)
            next(blocks)
            wait_for(lambda: server.client.get(clip["urls"]["self"]).json()["duration_s"] > 3)
            late = stream_of(server.client, clip)
            assert late == pcm_of(1, [], 6 * RATE_HZ)
            assert b"".join(blocks)[-1_000:] == late[-1_000:]


def test_a_wav_of_a_growing_clip_leaves_its_length_open_and_of_a_finished_one_says_it(fast):
    clip = fast.clip(duration_s=1.0)
    finished = stream_of(fast.client, clip, format="wav")
    assert finished[40:44] == (2 * RATE_HZ).to_bytes(4, "little")
    with serving(fast.config.folder / "slow", pace=2.0) as slow:
        growing = stream_of(slow.client, slow.submit(duration_s=1.0)["clips"][0], format="wav")
    assert growing[40:44] == b"\xff\xff\xff\xff"
    assert len(growing) == 44 + 2 * RATE_HZ


def test_events_tell_the_story_of_a_job(fast):
    with fast.client.stream("GET", "/v1/events") as answer:
        text = answer.iter_text()
        next(text)
        job = fast.made(count=2)
        told = ""
        while "job.succeeded" not in told:
            told += next(text)
    events = [(kind, data) for kind, data in events_of(told) if job["id"] in json.dumps(data)]
    kinds = [kind for kind, _ in events]
    assert kinds[:2] == ["job.queued", "job.started"]
    assert kinds.count("clip.first_audio") == kinds.count("clip.ready") == 2
    assert kinds.index("clip.first_audio") < kinds.index("clip.ready") < kinds.index("job.succeeded")
    ended = dict(events)["job.succeeded"]["job"]
    assert (ended["state"], [clip["state"] for clip in ended["clips"]]) == ("succeeded", ["ready", "ready"])


def test_events_that_were_missed_follow_after_a_reconnect(fast):
    with fast.client.stream("GET", "/v1/events") as answer:
        text = answer.iter_text()
        next(text)
        fast.made()
        told = next(text)
    first = told.split("\n")[0].removeprefix("id: ")
    fast.made()
    with fast.client.stream("GET", "/v1/events", headers={"Last-Event-ID": first}) as answer:
        text = answer.iter_text()
        missed = ""
        while missed.count("job.succeeded") < 2:
            missed += next(text)
    numbers = [int(line.split("-")[1]) for line in missed.splitlines() if line.startswith("id: ")]
    start = int(first.split("-")[1]) + 1
    assert numbers == list(range(start, start + len(numbers)))
    for unknown in ("other-1", f"{first.split('-')[0]}-99999999"):
        with fast.client.stream("GET", "/v1/events", headers={"Last-Event-ID": unknown}) as answer:
            text = answer.iter_text()
            assert "resync" in next(text) + next(text)


def test_the_events_of_a_job_that_has_ended_end_for_those_who_know_them(fast):
    """A player that came back with the last of them once got an answer that never ended."""
    job = fast.submit()
    told = fast.client.get(job["urls"]["events"]).text
    ids = [line.removeprefix("id: ") for line in told.splitlines() if line.startswith("id: ")]
    assert fast.client.get(job["urls"]["events"], headers={"Last-Event-ID": ids[-1]}).status_code == 204
    assert fast.client.get(job["urls"]["events"], headers={"Last-Event-ID": "other-1"}).status_code == 204
    assert "job.succeeded" in fast.client.get(job["urls"]["events"], headers={"Last-Event-ID": ids[0]}).text


def test_cancelling_keeps_what_was_made_and_frees_the_place(tmp_path):
    with serving(tmp_path, pace=1.0, limits={"slots": 1}) as server:
        first, second = server.submit(duration_s=60.0, seed=4), server.submit(duration_s=0.5)
        assert server.job(second)["queue"]["position"] == 1
        clip = first["clips"][0]
        wait_for(lambda: server.client.get(clip["urls"]["self"]).json()["duration_s"] > 0.5)
        cancelled = server.client.post(first["urls"]["cancel"]).json()
        assert cancelled["state"] == "cancelled"
        kept = cancelled["clips"][0]
        assert kept["state"] == "partial"
        num_samples = round(kept["duration_s"] * RATE_HZ)
        assert stream_of(server.client, kept) == pcm_of(4, [], 60 * RATE_HZ)[: 2 * num_samples]
        assert server.client.get(kept["urls"]["codes"]).status_code == 200
        wait_for(lambda: server.job(second)["state"] == "succeeded")
        again = server.client.post(first["urls"]["cancel"]).json()
        assert (again["state"], again["finished_at"]) == ("cancelled", cancelled["finished_at"])
        waiting = server.submit(duration_s=60.0, count=2)
        assert {clip["state"] for clip in server.client.post(waiting["urls"]["cancel"]).json()["clips"]} <= {
            "cancelled",
            "partial",
        }


def test_sections_can_change_while_the_music_plays(tmp_path):
    with serving(tmp_path, pace=4.0) as server:
        # Waits at second 1 for the change.
        job = server.submit(duration_s=5.0, seed=2, sections=[{"start_s": 4, "text": "old [stall 1]"}])
        wait_for(lambda: server.job(job)["clips"][0]["duration_s"] > 0.5)
        too_late = server.client.patch(job["urls"]["self"], json={"sections": [{"start_s": 0.2, "text": "x"}]})
        assert (too_late.status_code, too_late.json()["type"]) == (409, "/problems/too-late")
        (fault,) = too_late.json()["errors"]
        assert 1.5 < fault["earliest_s"] <= 2.01
        sections = [{"start_s": 3.5, "text": "drums"}]
        changed = server.client.patch(job["urls"]["self"], json={"sections": sections})
        assert changed.json()["request"]["sections"] == sections
        assert stream_of(server.client, job["clips"][0]) == pcm_of(2, sections, 5 * RATE_HZ)
        recipe = server.client.get(job["clips"][0]["urls"]["recipe"]).json()
        assert recipe["request"]["sections"] == sections
        wait_for(lambda: server.job(job)["state"] == "succeeded")
        late = server.client.patch(job["urls"]["self"], json={"sections": sections})
        assert (late.status_code, late.json()["type"]) == (409, "/problems/wrong-state")


def test_a_clip_that_begins_while_the_sections_change_has_the_new_ones(tmp_path, monkeypatch):
    """It was once made with the old ones, under a recipe with the new ones."""
    with serving(tmp_path, pace=4.0, limits={"slots": 1}) as server:
        job = server.submit(duration_s=5.0, seed=2, count=2)
        wait_for(lambda: server.job(job)["clips"][0]["duration_s"] > 0.5)
        production = server.service.production
        change = production.host.questions.change

        async def slow(clip_id: str, sections: list[dict]) -> list[dict]:
            applied = await change(clip_id, sections)
            production.cancel(production.clips[clip_id])
            await asyncio.sleep(0.5)
            return applied

        monkeypatch.setattr(production.host.questions, "change", slow)
        sections = [{"start_s": 4.0, "text": "drums"}]
        assert server.client.patch(job["urls"]["self"], json={"sections": sections}).status_code == 200
        assert stream_of(server.client, job["clips"][1]) == pcm_of(3, sections, 5 * RATE_HZ)
        recipe = server.client.get(job["clips"][1]["urls"]["recipe"]).json()
        assert recipe["request"]["sections"] == sections


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


def test_owners_queue_and_whole_queue_are_bounded(tmp_path):
    with serving(tmp_path, pace=0.1, limits={"slots": 1, "queue": 3, "queue_per_owner": 3}) as server:
        known = {"Idempotency-Key": "known"}
        jobs = [server.client.post("/v1/jobs", json={"duration_s": 30.0}, headers=known).json()]
        jobs += [server.submit(duration_s=30.0) for _ in range(3)]
        for headers in [{}] * 20 + [{"Idempotency-Key": "other"}]:
            refused = server.client.post("/v1/jobs", json={}, headers=headers)
            assert (refused.status_code, refused.json()["type"]) == (429, "/problems/queue-full")
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.headers["Content-Type"] == "application/problem+json"
        again = server.client.post("/v1/jobs", json={"duration_s": 30.0}, headers=known)
        assert (again.status_code, again.json()["id"]) == (202, jobs[0]["id"])
        assert 'route="/v1/jobs",status="429"} 21.0' in server.client.get("/metrics").text
        music = server.client.post("/v1/audio/music", json={"prompt": "a"})
        assert (music.status_code, music.json()["error"]["code"]) == (429, "queue-full")
        for job in reversed(jobs):
            server.client.post(job["urls"]["cancel"])
        assert server.submit(duration_s=0.1)["state"] in ("queued", "running")


def test_prefer_wait_answers_with_the_finished_job_or_with_what_there_is(fast, tmp_path):
    done = fast.client.post("/v1/jobs", json={"duration_s": 0.5}, headers={"Prefer": "wait=20"})
    assert (done.status_code, done.json()["state"]) == (201, "succeeded")
    assert done.headers["Location"] == done.json()["urls"]["self"]
    with serving(tmp_path, pace=0.1) as slow:
        began = time.monotonic()
        answer = slow.client.post("/v1/jobs", json={"duration_s": 20}, headers={"Prefer": "wait=1"})
        assert answer.status_code == 202
        assert answer.json()["state"] in ("queued", "running")
        assert 0.9 < time.monotonic() - began < 60


def test_jobs_are_listed_in_pages_and_deleted_when_they_have_ended(fast):
    made = [fast.made(duration_s=0.2)["id"] for _ in range(5)]
    listed, cursor = [], None
    while cursor is not None or not listed:
        page = fast.client.get("/v1/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        listed += [job["id"] for job in page["items"]]
        cursor = page["next_cursor"]
    assert listed[:5] == made[::-1]
    assert len(listed) == len(set(listed))
    assert fast.client.delete(f"/v1/jobs/{made[0]}").status_code == 204
    assert fast.client.get(f"/v1/jobs/{made[0]}").status_code == 404


def test_codes_are_kept_and_continued_unchanged(fast, tmp_path):
    clip = fast.clip(duration_s=1.0, seed=6)
    file = tmp_path / "codes.safetensors"
    file.write_bytes(fast.client.get(clip["urls"]["codes"]).content)
    from safetensors.numpy import load_file

    assert np.array_equal(load_file(file)["codes"], codes_of(6, 50))
    continued = fast.clip(duration_s=2.0, continue_from={"clip_id": clip["id"], "at_s": 0.5})
    assert continued["parent"] == {"clip_id": clip["id"], "at_s": 0.5, "relation": "continue"}
    assert continued["text"] == "hello"
    too_short = fast.client.post("/v1/jobs", json={"duration_s": 0.5, "continue_from": {"clip_id": clip["id"]}})
    assert too_short.json()["errors"][0]["pointer"] == "/duration_s"


def test_what_the_engine_refuses_changes_nothing(tmp_path):
    with serving(tmp_path, limits={"queue": 1}) as server:
        refused = server.client.post("/v1/jobs", json={"text": "[refuse]"})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/text")
        job = server.submit(duration_s=3.0)
        new = [{"start_s": 2.8, "text": "[refuse]"}]
        changed = server.client.patch(f"/v1/jobs/{job['id']}", json={"sections": new})
        assert changed.status_code == 422
        assert server.job(job)["request"]["sections"] == []
        assert [one["id"] for one in server.client.get("/v1/jobs").json()["items"]] == [job["id"]]


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


JOBS, CLIPS = "/v1/jobs", "/v1/clips/clip_1111111111111111111111"


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity"])
@pytest.mark.parametrize(
    ("method", "route", "body", "pointer"),
    [
        ("POST", JOBS, '{"duration_s": %s}', "/duration_s"),
        ("POST", JOBS, '{"seed": %s}', "/seed"),
        ("POST", JOBS, '{"tempo": %s}', "/tempo"),
        ("POST", JOBS, '{"sampling": {"top_p": %s}}', "/sampling/top_p"),
        ("POST", JOBS, '{"guidance": {"schedule": [[0, 1], [2, %s]]}}', "/guidance/schedule/1/1"),
        ("POST", JOBS, '{"sections": [{"text": "x", "start_s": %s}]}', "/sections/0/start_s"),
        ("POST", JOBS, '{"text": %s}', "/text"),
        ("POST", JOBS, '{"analyse": %s}', "/analyse"),
        ("POST", JOBS, "%s", "/"),
        ("PATCH", CLIPS, '{"rating": %s}', "/rating"),
        (
            "PATCH",
            f"{JOBS}/job_1111111111111111111111",
            '{"sections": [{"text": "", "start_s": %s}]}',
            "/sections/0/start_s",
        ),
        ("PUT", "/v1/presets/x", '{"request": {"stride_s": %s}}', "/request/stride_s"),
        ("POST", "/v1/recipes/check", '{"recipe": %s, "request": {}}', "/recipe"),
        ("POST", "/v1/audio/music", '{"prompt": "x", "duration": %s}', "/duration"),
        ("POST", "/v1/audio/music", '{"prompt": "x", "steps": %s}', "/steps"),
        ("POST", "/models/paced", '{"inputs": "x", "parameters": {"temperature": %s}}', "/parameters/temperature"),
    ],
)
def test_a_number_that_is_not_finite_is_refused_and_named(fast, method, route, body, pointer, number):
    """The problem once repeated it, which JSON cannot: the answer was status 500."""
    answer = fast.client.request(
        method, route, content=body % number, headers={"Content-Type": "application/json", "If-Match": '"1"'}
    )
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("name", ["start_s", "end_s", "loudness_lufs"])
@pytest.mark.parametrize("number", ["1e400", "nan", "inf", "-inf"])
def test_a_parameter_that_is_not_finite_is_refused_and_named(fast, name, number):
    clip = fast.clip(duration_s=0.1)
    answer = fast.client.get(clip["urls"]["audio"], params={name: number})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, f"/{name}")
    assert answer.json()["detail"] == f"{name}: must be a finite number"


@pytest.mark.parametrize(
    ("body", "status", "detail", "pointer"),
    [
        ('{"text":', 400, "the body is not JSON: Expecting value at character 9", "/"),
        ("", 422, "the body must be a JSON object", "/"),
        ("[]", 422, "the body must be a JSON object", "/"),
        ("7", 422, "the body must be a JSON object", "/"),
        ('{"loop": []}', 422, "loop: must be a JSON object", "/loop"),
        ('{"sections": 1}', 422, "sections: must be a list", "/sections"),
        ('{"sections": [{"text": "x"}]}', 422, "sections.0.start_s: is needed", "/sections/0/start_s"),
        ('{"speed": 2}', 422, "speed: there is no such field; leave it out", "/speed"),
        (
            '{"guidance": {"schedule": [[5]]}}',
            422,
            "guidance.schedule.0: must have at least 2 items, not 1",
            "/guidance/schedule/0",
        ),
        (f'{{"label": "{"x" * 201}"}}', 422, "label: must have at most 200 characters", "/label"),
        (
            '{"adapters": [{"name": "../x"}]}',
            422,
            "adapters.0.name: has characters that are not allowed here, or is too long",
            "/adapters/0/name",
        ),
        ('{"tempo": []}', 422, "tempo: must be a valid number", "/tempo"),
    ],
)
def test_what_is_wrong_with_a_body_is_said_in_plain_words(fast, body, status, detail, pointer):
    answer = fast.client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (status, detail)
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"duration_s": 400}, "/duration_s"),
        ({"duration_s": -1}, "/duration_s"),
        ({"duration_s": "10"}, "/duration_s"),
        ({"count": 9}, "/count"),
        ({"seed": -1}, "/seed"),
        ({"seed": 2**32}, "/seed"),
        ({"seed": 2**70}, "/seed"),
        ({"seed": 7.0}, "/seed"),
        ({"seed": "7"}, "/seed"),
        ({"seed": True}, "/seed"),
        ({"seed": 2**32 - 1, "count": 2}, "/seed"),
        ({"seed": 2**32 - 4, "count": 2, "best_of": 3, "tempo": 120}, "/seed"),
        ({"guidance": {"schedule": [[2, 3], [10.1, 5]]}}, "/guidance/schedule"),
        ({"loop": {"bars": 1}, "tempo": 120, "guidance": {"schedule": [[2.1, 5]]}}, "/guidance/schedule"),
        ({"text": "x" * 2_001}, "/text"),
        ({"text": 7}, "/text"),
        ({"text": "a\0b"}, "/text"),
        ({"sampling": {"top_k": -1}}, "/sampling/top_k"),
        ({"guidance": {"scale": 1_000}}, "/guidance/scale"),
        ({"key": "H minor"}, "/key"),
        ({"tempo": 1_000}, "/tempo"),
        ({"sections": [{"start_s": 20, "text": "x"}]}, "/sections"),
        ({"loop": {"bars": 4}}, "/loop/bars"),
        ({"melody": {"clip_id": "clip_../etc"}}, "/melody/clip_id"),
        ({"relation": {"clip_id": "clip_1111111111111111111111", "kind": "x"}}, "/relation/clip_id"),
        ({"melody": {}}, "/melody"),
        ({"style": {"clip_id": "x"}}, "/style"),
        ({"model": "other"}, "/model"),
        ({"lyrics": "la"}, "/lyrics"),
    ],
)
def test_a_wrong_field_is_named(fast, fields, pointer):
    answer = fast.client.post("/v1/jobs", json=fields)
    assert 400 <= answer.status_code < 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["errors"][0]["pointer"] == pointer
    assert problem["detail"]


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


def test_clips_name_the_chords_that_they_were_made_with(fast):
    given = fast.clip(duration_s=0.5, chords="C:0 G:0.25")
    chosen = fast.clip(duration_s=0.5, text="[choose]")
    left_open = fast.clip(duration_s=0.5)
    assert [clip["chords"] for clip in (given, chosen, left_open)] == ["C:0 G:0.25", "Am:0.0 F:0.5", None]
