"""Clips: found, changed, streamed as they grow, and as files."""

import io
import re
import time
import wave
from datetime import UTC, datetime

from tests.apps.studio.fake_http import Exchange, Problem, Route
from tests.apps.studio.pacer import RATE_HZ, new_id

POLL_S = 0.02


def list_clips(exchange: Exchange) -> None:
    words = exchange.query.get("q", "").lower().split()
    is_trash = exchange.query.get("trashed") == "true"
    found = [clip.json() for clip in exchange.server.clips if (clip.trashed_at is not None) == is_trash]
    found = [clip for clip in found if all(word in f"{clip['text']} {clip['title']}".lower() for word in words)]
    if exchange.query.get("favourite"):
        found = [clip for clip in found if clip["favourite"]]
    if "parent_id" in exchange.query:
        found = [clip for clip in found if (clip["parent"] or {}).get("clip_id") == exchange.query["parent_id"]]
    if "collection_id" in exchange.query:
        kept = exchange.server.collections[exchange.query["collection_id"]]["clip_ids"]
        found = [clip for clip in found if clip["id"] in kept]
    first = int(exchange.query.get("cursor", 0))
    last = first + int(exchange.query.get("limit", 50))
    exchange.send({"items": found[first:last], "next_cursor": str(last) if last < len(found) else None})


def show_clip(exchange: Exchange, id: str) -> None:
    exchange.send(exchange.clip(id).json())


def change_clip(exchange: Exchange, id: str) -> None:
    clip = exchange.clip(id)
    clip.own |= exchange.body
    clip.version += 1
    exchange.send(clip.json())


def trash_clip(exchange: Exchange, id: str) -> None:
    clip = exchange.clip(id)
    if exchange.query.get("forever") == "true":
        clip.job.clips.remove(clip)
    clip.trashed_at = datetime.now(UTC).isoformat()
    clip.version += 1
    exchange.done()


def restore_clip(exchange: Exchange, id: str) -> None:
    clip = exchange.clip(id)
    clip.trashed_at = None
    clip.version += 1
    exchange.send(clip.json())


def stream(exchange: Exchange, id: str) -> None:
    """The clip's samples as they appear, in chunks that need not end at a sample."""
    clip = exchange.clip(id)
    data = clip.samples.tobytes()
    at = 2 * round(float(exchange.query.get("start_s", 0)) * RATE_HZ)
    exchange.send_response(200)
    exchange.send_header("Content-Type", f"audio/pcm;rate={RATE_HZ};channels=1;bits=16")
    exchange.send_header("Transfer-Encoding", "chunked")
    exchange.end_headers()
    while clip.state in ("waiting", "making") or at < 2 * clip.frames:
        if exchange.server.is_down:
            exchange.close_connection = True
            return
        there = 2 * clip.frames
        if there > at and exchange.server.first_chunk_at is None:
            exchange.server.first_chunk_at = time.time()
        size = exchange.server.chunk_bytes or max(there - at, 1)
        chunks = [data[start : min(start + size, there)] for start in range(at, there, size)]
        exchange.wfile.write(b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks))
        at = max(there, at)
        time.sleep(POLL_S)
    exchange.wfile.write(b"0\r\n\r\n")


def audio(exchange: Exchange, id: str) -> None:
    first, last = (round(float(exchange.query.get(*part)) * RATE_HZ) for part in (("start_s", "0"), ("end_s", "1e6")))
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, RATE_HZ, 0, "NONE", ""))
        writer.writeframes(exchange.clip(id).samples[first:last].tobytes())
    name = f'attachment; filename="clip.{exchange.query.get("format", "wav")}"'
    exchange.send(file.getvalue(), type="audio/wav", headers=[("Content-Disposition", name)])


def peaks(exchange: Exchange, id: str) -> None:
    clip = exchange.clip(id)
    per_s = int(exchange.query.get("per_s", 100))
    columns = clip.samples[: clip.frames // (RATE_HZ // per_s) * (RATE_HZ // per_s)].reshape(-1, RATE_HZ // per_s)
    data = [int(value) >> 8 for column in columns for value in (column.min(), column.max())]
    exchange.send({"version": 2, "channels": 1, "bits": 8, "length": len(columns), "data": data})


def recipe(exchange: Exchange, id: str) -> None:
    clip = exchange.clip(id)
    request = {**clip.job.request, "seed": clip.seed, "count": 1, "duration_s": clip.job.duration_s}
    exchange.send({"recipe": 1, "request": request, "model": "pacer"})


def check_recipe(exchange: Exchange) -> None:
    exchange.send({"request": exchange.body["request"], "is_exact": True, "notes": []})


def upload(exchange: Exchange) -> None:
    name = re.search(rb'filename="([^"]*)"', exchange.body)
    assert name is not None
    sent = {"id": new_id("upl"), "name": name[1].decode(), "duration_s": 3.0}
    exchange.server.uploads[sent["id"]] = {**sent, "created_at": datetime.now(UTC).isoformat()}
    exchange.send(exchange.server.uploads[sent["id"]], 201)


def list_uploads(exchange: Exchange) -> None:
    """Two on a page."""
    newest_first = list(exchange.server.uploads.values())[::-1]
    first = int(exchange.query.get("cursor", 0))
    last = first + 2
    next_cursor = str(last) if last < len(newest_first) else None
    exchange.send({"items": newest_first[first:last], "next_cursor": next_cursor})


def show_upload(exchange: Exchange, id: str) -> None:
    if id not in exchange.server.uploads:
        raise Problem(404, "not-found", f"there is no upload {id}")
    exchange.send(exchange.server.uploads[id])


def drop_upload(exchange: Exchange, id: str) -> None:
    del exchange.server.uploads[id]
    exchange.done()


ROUTES: list[Route] = [
    ("GET", "/v1/clips", list_clips),
    ("GET", "/v1/clips/([^/]+)", show_clip),
    ("PATCH", "/v1/clips/([^/]+)", change_clip),
    ("DELETE", "/v1/clips/([^/]+)", trash_clip),
    ("POST", "/v1/clips/([^/]+)/restore", restore_clip),
    ("GET", "/v1/clips/([^/]+)/stream", stream),
    ("GET", "/v1/clips/([^/]+)/audio", audio),
    ("GET", "/v1/clips/([^/]+)/peaks", peaks),
    ("GET", "/v1/clips/([^/]+)/recipe", recipe),
    ("POST", "/v1/recipes/check", check_recipe),
    ("POST", "/v1/uploads", upload),
    ("GET", "/v1/uploads", list_uploads),
    ("GET", "/v1/uploads/([^/]+)", show_upload),
    ("DELETE", "/v1/uploads/([^/]+)", drop_upload),
]
