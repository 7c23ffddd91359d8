"""Clips over HTTP: their list, what is said about them, and their audio."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from descant.apps.server import rows
from descant.apps.server.audio_out import (
    TYPES,
    AudioFormat,
    Wanted,
    exported,
    file_name,
    info_of,
    require_audio,
)
from descant.apps.server.auth import Maker, Reader
from descant.apps.server.clip_search import Filters, search
from descant.apps.server.ids import checked_id, now
from descant.apps.server.problems import Problem, at_fault
from descant.apps.server.routes.answers import StoredFile, problems
from descant.apps.server.schemas import ClipChanges, ClipList, ClipObject
from descant.apps.server.service import Parts, Service
from descant.apps.server.streams import PCM_TYPE, clip_pcm
from descant.audio.pcm import wav_header

router = APIRouter(tags=["clips"])

StreamFormat = Literal["pcm", "wav", "mp3"]
Start = Annotated[float, Query(ge=0, le=3_600, allow_inf_nan=False)]
End = Annotated[float | None, Query(gt=0, le=3_600, allow_inf_nan=False)]


@router.get("/v1/clips", response_model=ClipList, responses=problems(422))
async def list_clips(owner: Reader, parts: Parts, filters: Annotated[Filters, Query()]) -> dict[str, Any]:
    """The clips of the owner that fit the filters."""
    found, next_cursor = await parts.store.read(lambda db: search(db, owner.id, filters))
    return {"items": [parts.jobs.clip_object(row) for row in found], "next_cursor": next_cursor}


@router.get("/v1/clips/{id}", response_model=ClipObject, responses=problems(404))
async def get_clip(id: str, owner: Reader, parts: Parts, response: Response) -> dict[str, Any]:
    """A clip."""
    row = await _row(parts, id, owner.id)
    response.headers["ETag"] = f'"{row["version"]}"'
    return parts.jobs.clip_object(row)


@router.patch("/v1/clips/{id}", response_model=ClipObject, responses=problems(404, 412, 415, 422))
async def change_clip(
    id: str,
    changes: ClipChanges,
    owner: Maker,
    parts: Parts,
    response: Response,
    if_match: Annotated[str | None, Header(max_length=100)] = None,
) -> dict[str, Any]:
    """Changes what people say about a clip."""
    clip_id = checked_id("clip", id)
    values: dict[str, Any] = changes.model_dump(exclude_unset=True)
    if "tags" in values:
        values["tags"] = json.dumps(list(dict.fromkeys(values["tags"])), ensure_ascii=False)

    def keep(db: sqlite3.Connection) -> sqlite3.Row:
        row = rows.find(db, "clips", "clip", clip_id, owner.id)
        if if_match is not None and if_match.strip('W/"') != str(row["version"]):
            raise at_fault("/if-match", f"clip {clip_id} is at version {row['version']}; read it again", "changed")
        return rows.update_clip(db, clip_id, values) if values else row

    return _told(parts, await parts.store.write(keep), response)


@router.delete("/v1/clips/{id}", status_code=204, response_class=Response, responses=problems(404, 409))
async def delete_clip(id: str, owner: Maker, parts: Parts, forever: bool = False) -> None:
    """Puts a clip into the trash, or removes it at once."""
    clip_id = checked_id("clip", id)

    def remove(db: sqlite3.Connection) -> sqlite3.Row:
        row = rows.find(db, "clips", "clip", clip_id, owner.id)
        if row["state"] not in rows.FINISHED:
            raise Problem("not-finished", f"clip {clip_id} is {row['state']}; cancel its job first")
        if forever:
            rows.delete_clip(db, row)
        elif row["trashed_at"] is None:
            rows.update_clip(db, clip_id, {"trashed_at": now()})
        return row

    await parts.store.write(remove)
    if forever:
        parts.files.remove_clip(clip_id)
    parts.hub.publish("clip.deleted", {"clip_id": clip_id}, owner.id)


@router.post("/v1/clips/{id}/restore", response_model=ClipObject, responses=problems(404))
async def restore_clip(id: str, owner: Maker, parts: Parts, response: Response) -> dict[str, Any]:
    """Takes a clip out of the trash."""
    clip_id = checked_id("clip", id)

    def restore(db: sqlite3.Connection) -> sqlite3.Row:
        rows.find(db, "clips", "clip", clip_id, owner.id)
        return rows.update_clip(db, clip_id, {"trashed_at": None})

    return _told(parts, await parts.store.write(restore), response)


@router.get(
    "/v1/jobs/{id}/clips/{index}/stream", response_class=StreamingResponse, responses=problems(404, 422, 429, 503)
)
async def stream_of_job(
    id: str, index: int, owner: Reader, parts: Parts, format: StreamFormat = "pcm", start_s: Start = 0.0
) -> Response:
    """Audio of one variation while it is made, to its end."""
    job = await parts.jobs.get(owner.id, checked_id("job", id))
    clip = next((clip for clip in job["clips"] if clip["index"] == index), None)
    if clip is None:
        raise Problem("not-found", f"job {job['id']} has no clip {index}")
    return await stream_response(parts, clip, owner.id, format, start_s)


@router.get("/v1/clips/{id}/stream", response_class=StreamingResponse, responses=problems(404, 410, 422, 429, 503))
async def stream_of_clip(
    id: str, owner: Reader, parts: Parts, format: StreamFormat = "pcm", start_s: Start = 0.0
) -> Response:
    """Audio of a clip while it is made, to its end."""
    clip = parts.jobs.clip_object(await _row(parts, id, owner.id))
    return await stream_response(parts, clip, owner.id, format, start_s)


@router.get("/v1/clips/{id}/audio", response_class=StoredFile, responses=problems(404, 409, 410, 416, 422))
async def audio(
    id: str,
    owner: Reader,
    parts: Parts,
    format: AudioFormat = "wav",
    start_s: Start = 0.0,
    end_s: End = None,
    loudness_lufs: Annotated[float | None, Query(ge=-70, le=0, allow_inf_nan=False)] = None,
    loop: bool = False,
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """The audio of a finished clip as a file."""
    await parts.production.finished(checked_id("clip", id))
    row = await _row(parts, id, owner.id)
    require_audio(row)
    wanted = Wanted(format=format, start_s=start_s, end_s=end_s, loudness_lufs=loudness_lufs, is_loop=loop)
    source = parts.files.audio(row["id"])
    path = await asyncio.to_thread(exported, parts.files, source, row["id"], info_of(row), wanted)
    await parts.store.write(lambda db: rows.note_heard(db, row["id"]))
    return file_response(path, file_name(row, format), TYPES[format], if_none_match)


@router.get("/v1/clips/{id}/codes", response_class=StoredFile, responses=problems(404, 409, 416))
async def codes(id: str, owner: Reader, parts: Parts) -> Response:
    """The codes of a clip, as ``descant generate --save-codes`` writes them."""
    row = await _row(parts, id, owner.id)
    if not row["codes_bytes"]:
        raise Problem("not-found", f"clip {row['id']} has no codes: it is {row['state']}")
    name = file_name(row, "safetensors")
    return StoredFile(parts.files.codes(row["id"]), media_type="application/octet-stream", filename=name)


def file_response(path: Path, name: str, media_type: str, if_none_match: str | None) -> Response:
    """A file whose content never changes under its path."""
    etag = f'"{path.stem}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=31536000, immutable"}
    if if_none_match is not None and etag in if_none_match:
        return Response(status_code=304, headers=headers)
    return StoredFile(path, media_type=media_type, filename=name, headers=headers)


async def stream_response(
    parts: Service, clip: dict[str, Any], owner: str, format: StreamFormat, start_s: float
) -> Response:
    """Audio of a clip as it comes.

    Raises:
        Problem: it was dropped, or too many streams are open.
    """
    if clip["state"] in rows.FINISHED and not clip["audio_kept"] and clip["audio_bytes"]:
        raise Problem("audio-dropped", f"the audio of clip {clip['id']} was dropped to make room; make it again")
    if clip["sample_rate_hz"] is None:
        rate_hz, channels = await parts.production.format()
    else:
        rate_hz, channels = clip["sample_rate_hz"], clip["channels"]
    content = clip_pcm(parts.production, parts.files, clip["id"], start_s)
    headers = {
        "X-Descant-Sample-Rate": str(rate_hz),
        "X-Descant-Channels": str(channels),
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
    }
    media_type = PCM_TYPE.format(rate=rate_hz, channels=channels)
    if format == "wav":
        is_known = clip["state"] in rows.FINISHED
        left = max(0, round(clip["duration_s"] * rate_hz) - round(start_s * rate_hz)) if is_known else None
        content = _after(wav_header(left, rate_hz, channels), content)
        media_type = "audio/wav"
    elif format == "mp3":
        from descant.apps.server.mp3 import mp3_of

        content = mp3_of(content, rate_hz, channels)
        media_type = "audio/mpeg"
    counted = parts.readers.counted(owner, content)
    return StreamingResponse(counted, media_type=media_type, headers=headers)


async def _after(head: bytes, content: Any) -> Any:
    yield head
    async for block in content:
        yield block


async def _row(parts: Service, id: str, owner: str) -> sqlite3.Row:
    clip_id = checked_id("clip", id)
    return await parts.store.read(lambda db: rows.find(db, "clips", "clip", clip_id, owner))


def _told(parts: Service, row: sqlite3.Row, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = f'"{row["version"]}"'
    clip = parts.jobs.clip_object(row)
    parts.hub.publish("clip.changed", {"clip": clip}, row["owner"], row["job_id"])
    return clip
