"""What the server is, its jobs, and their events."""

import json
import time
from typing import Any

from tests.apps.studio.fake_http import Exchange, Problem, Route
from tests.apps.studio.pacer import RATE_HZ, Clip, Job

POLL_S = 0.04

PROGRESS_S = 0.25
CAN = {
    "text": True,
    "negative_text": True,
    "melody": True,
    "style": False,
    "chords": False,
    "tempo_key": True,
    "continue_from": True,
    "sections": True,
    "loop": True,
}
CANNOT = {
    "style": "this model was trained without styles; facebook/musicgen-style follows them",
    "chords": "this model was trained without chords",
}


def info(exchange: Exchange) -> None:
    waiting = [job for job in exchange.server.jobs.values() if job.state == "queued"]
    speed = {"real_time_factor": 1 / exchange.server.pace, "first_audio_s": 0.1}
    limits = {"text_characters": 2_000, "count": 8, "duration_s": 300, "upload_bytes": 26_214_400}
    used = {"audio": 61_200_000, "codes": 480_000, "uploads": 0, "cache": 2_200_000, "trash": 5_000_000}
    exchange.send(
        {
            "version": "0.1.0",
            "state": "ready",
            "model": "pacer",
            "device": "cpu",
            "precision": "fp32",
            "speed": speed if exchange.server.jobs else None,
            "slots": {"total": 8, "busy": 0},
            "queue": {"length": len(waiting), "limit": 64},
            "owner": "local",
            "scopes": ["read", "generate", "listen", "admin"],
            "formats": {"audio": ["wav", "flac", "mp3", "ogg"], "loop": ["wav", "ogg"]},
            "extras": {"midi": exchange.server.has_midi, "stems": False},
            "limits": limits,
            "storage": {"used_bytes": sum(used.values()), "quota_bytes": 10_737_418_240, "by_kind": used},
        }
    )


def models(exchange: Exchange) -> None:
    defaults = {"sampling": {"temperature": 1.0, "top_k": 250, "top_p": 1.0}, "guidance": {"scale": 3.0}}
    model = {"id": "pacer", "loaded": True, "sample_rate_hz": RATE_HZ, "channels": 1, "trained_s": 10.0}
    model |= {"max_duration_s": 300, "can": CAN, "cannot": CANNOT, "defaults": defaults, "licence": "Apache-2.0"}
    exchange.send({"items": [model]})


def send_job(exchange: Exchange) -> None:
    if exchange.server.is_full:
        raise Problem(507, "storage-full", "favourites, codes and uploads fill the quota")
    if (exchange.body.get("duration_s") or 0) > 300:
        raise Problem(422, "invalid-request", "duration_s=400: at most 300 s are made here; ask for less.")
    exchange.send(exchange.server.add(exchange.body).json(), 202)


def list_jobs(exchange: Exchange) -> None:
    newest = list(exchange.server.jobs.values())[: -int(exchange.query.get("limit", 50)) - 1 : -1]
    exchange.send({"items": [job.json() for job in newest], "next_cursor": None})


def cancel(exchange: Exchange, id: str) -> None:
    job = exchange.server.jobs[id]
    if job.state in ("queued", "running"):
        job.cancelled_at = time.time()
    exchange.send(job.json())


def patch_job(exchange: Exchange, id: str) -> None:
    job = exchange.server.jobs[id]
    earliest = round(job.made_s + 1, 2)
    if job.state == "running" and min(section["start_s"] for section in exchange.body["sections"]) < earliest:
        entry = {"pointer": "/sections/0/start_s", "detail": f"must be {earliest} or more", "earliest_s": earliest}
        raise Problem(409, "too-late", "sections.0.start_s: the music has passed that point", [entry])
    job.request["sections"] = exchange.body["sections"]
    exchange.send(job.json())


def events(exchange: Exchange) -> None:
    """What has changed since the last look, as events."""
    exchange.send_response(200)
    exchange.send_header("Content-Type", "text/event-stream")
    exchange.send_header("Connection", "close")
    exchange.end_headers()
    exchange.close_connection = True
    ended = [job for job in exchange.server.jobs.values() if job.state == "succeeded"]
    seen: dict[str, Any] = {job.id: job.state for job in ended}
    seen |= {clip.id: look_of(clip) for job in ended for clip in job.clips}
    told_at = 0.0
    while not exchange.server.is_down:
        is_due = time.time() - told_at > PROGRESS_S
        told_at = time.time() if is_due else told_at
        for job in list(exchange.server.jobs.values()):
            tell_of(exchange, job, seen, is_due)
        exchange.wfile.write(b": still here\n\n")
        time.sleep(POLL_S)


def look_of(clip: Clip) -> tuple[str, int, bool]:
    return clip.state, clip.version, clip.is_measured


def tell_of(exchange: Exchange, job: Job, seen: dict[str, Any], is_due: bool) -> None:
    if seen.get(job.id) != job.state:
        name = {"queued": "job.queued", "running": "job.started"}.get(job.state, f"job.{job.state}")
        event(exchange, name, {"job": job.json()})
    if job.state == "running" and is_due:
        clips = [{"clip_id": clip.id, "index": clip.index, "made_s": job.made_s, "of_s": job.duration_s}
                 for clip in job.clips]  # fmt: skip
        eta_s = job.ends_at - time.time()
        event(exchange, "job.progress", {"job_id": job.id, "clips": clips, "speed": job.pace, "eta_s": eta_s})
    seen[job.id] = job.state
    for clip in job.clips:
        now = look_of(clip)
        if clip.state not in ("waiting", "making") and seen.get(clip.id) != now:
            event(exchange, "clip.ready" if clip.id not in seen else "clip.changed", {"clip": clip.json()})
            seen[clip.id] = now


def event(exchange: Exchange, name: str, data: Any) -> None:
    exchange.wfile.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
    exchange.wfile.flush()


ROUTES: list[Route] = [
    ("GET", "/v1/server", info),
    ("GET", "/v1/models", models),
    ("GET", "/v1/events", events),
    ("POST", "/v1/jobs", send_job),
    ("GET", "/v1/jobs", list_jobs),
    ("POST", "/v1/jobs/([^/]+)/cancel", cancel),
    ("PATCH", "/v1/jobs/([^/]+)", patch_job),
]
