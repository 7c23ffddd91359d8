"""Jobs: what is asked for is made, streamed, kept and found again; it can be cancelled and changed on the way."""

import asyncio
import json
import random
import time

import numpy as np
import soundfile

from tests.apps.server.conftest import events_of, serving, stream_of, wait_for
from tests.apps.server.paced_engine import RATE_HZ, codes_of, pcm_of


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


def test_clips_name_the_chords_that_they_were_made_with(fast):
    given = fast.clip(duration_s=0.5, chords="C:0 G:0.25")
    chosen = fast.clip(duration_s=0.5, text="[choose]")
    left_open = fast.clip(duration_s=0.5)
    assert [clip["chords"] for clip in (given, chosen, left_open)] == ["C:0 G:0.25", "Am:0.0 F:0.5", None]
