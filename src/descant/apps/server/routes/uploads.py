"""Uploads over HTTP."""

import asyncio
import hashlib
import os
import sqlite3
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from descant.apps.server import rows
from descant.apps.server.audio_out import TYPES, AudioFormat, Wanted, exported
from descant.apps.server.auth import Maker, Reader
from descant.apps.server.ids import as_text, checked_id, new_id, now
from descant.apps.server.pages import MAX_PAGE, PAGE, cursor_number, page_of
from descant.apps.server.peaks import peaks_of_file
from descant.apps.server.problems import at_fault, of_library
from descant.apps.server.routes.answers import IdempotencyKey, StoredFile, problems
from descant.apps.server.routes.clips import End, Start, file_response
from descant.apps.server.routes.derived import PerSecond
from descant.apps.server.schemas import UploadList, UploadObject
from descant.apps.server.service import Parts, Service
from descant.apps.server.uploads import decode
from descant.errors import AudioError

router = APIRouter(prefix="/v1/uploads", tags=["uploads"])

ONE_FILE = "send exactly one part, called file, with a file name, and nothing else"
FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


@router.post(
    "",
    status_code=201,
    response_model=UploadObject,
    responses={200: {"model": UploadObject}, **problems(409, 413, 415, 422, 503, 507)},
    openapi_extra=FORM,
)
async def upload(request: Request, owner: Maker, parts: Parts, idempotency_key: IdempotencyKey = None) -> Response:
    """Takes a file with audio."""
    await parts.storage.require_room()
    name, content = await _sent(request, parts.config.limits.upload_bytes)
    digest = hashlib.sha256(content).hexdigest()

    async def act() -> Response:
        known = await parts.store.write(lambda db: _renewed(db, owner.id, digest))
        row = known or await _stored(parts, owner.id, name, digest, content)
        parts.hub.publish_list("uploads", owner.id)
        return JSONResponse(_object(parts, row, had=known is not None), 201 if known is None else 200)

    return await parts.idempotency.once(owner.id, "uploads", idempotency_key, digest, act)


@router.get("", response_model=UploadList, responses=problems(422))
async def list_uploads(
    owner: Reader,
    parts: Parts,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = PAGE,
    cursor: str | None = None,
) -> dict[str, Any]:
    """The uploads of the owner, the newest first."""
    before = cursor_number(cursor)
    found = await parts.store.read(
        lambda db: db.execute(
            "SELECT * FROM uploads WHERE owner = ? AND (? IS NULL OR number < ?) ORDER BY number DESC LIMIT ?",
            (owner.id, before, before, limit + 1),
        ).fetchall()
    )
    count, next_cursor = page_of([row["number"] for row in found], limit)
    return {"items": [_object(parts, row, had=True) for row in found[:count]], "next_cursor": next_cursor}


@router.get("/{id}", response_model=UploadObject, responses=problems(404))
async def get_upload(id: str, owner: Reader, parts: Parts) -> dict[str, Any]:
    """An upload."""
    return _object(parts, await _row(parts, id, owner.id), had=True)


@router.delete("/{id}", status_code=204, response_class=Response, responses=problems(404))
async def delete_upload(id: str, owner: Maker, parts: Parts) -> None:
    """Removes an upload; clips that were made from it stay."""
    row = await _row(parts, id, owner.id)
    await parts.store.write(lambda db: db.execute("DELETE FROM uploads WHERE id = ?", (row["id"],)))
    parts.files.remove_upload(row["id"])
    parts.hub.publish_list("uploads", owner.id)


@router.get("/{id}/audio", response_class=StoredFile, responses=problems(404, 416, 422))
async def upload_audio(
    id: str,
    owner: Reader,
    parts: Parts,
    format: AudioFormat = "wav",
    start_s: Start = 0.0,
    end_s: End = None,
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """The audio of an upload."""
    row = await _row(parts, id, owner.id)
    wanted = Wanted(format=format, start_s=start_s, end_s=end_s)
    source = parts.files.upload(row["id"])
    path = await asyncio.to_thread(exported, parts.files, source, row["id"], {}, wanted)
    name = f"{Path(row['name']).stem}.{format}"
    return file_response(path, name, TYPES[format], if_none_match)


@router.get("/{id}/peaks", responses=problems(404, 422))
async def upload_peaks(id: str, owner: Reader, parts: Parts, per_s: PerSecond = 100) -> dict[str, Any]:
    """The outline of an upload."""
    row = await _row(parts, id, owner.id)
    return await asyncio.to_thread(peaks_of_file, parts.files.upload(row["id"]), per_s)


async def _sent(request: Request, max_bytes: int) -> tuple[str, bytes]:
    """The name and the content of the file in a form.

    Raises:
        Problem: the form has other parts, or cannot be read.
    """
    try:
        async with request.form(max_files=1, max_fields=0, max_part_size=max_bytes) as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                raise at_fault("/file", ONE_FILE)
            return os.path.basename(file.filename or "")[:200] or "audio", await file.read()
    except HTTPException as error:  # what the framework makes of a form that it cannot read
        is_more = str(error.detail).startswith("Too many")
        detail = ONE_FILE if is_more else f"the form cannot be read: {error.detail}"
        raise at_fault("/file", detail, "malformed") from error


async def _stored(parts: Service, owner: str, name: str, digest: str, content: bytes) -> sqlite3.Row:
    upload_id, limits = new_id("upload"), parts.config.limits
    with tempfile.TemporaryDirectory(dir=parts.files.parts, prefix=".upload-") as folder:
        source, decoded_path = Path(folder) / "given", Path(folder) / "decoded.flac"
        await asyncio.to_thread(source.write_bytes, content)
        async with parts.decoding:
            decoded = await decode(source, decoded_path, limits.upload_min_s, limits.upload_s)
        flac = await asyncio.to_thread(decoded_path.read_bytes)
    try:
        size = await asyncio.to_thread(parts.files.write, parts.files.upload(upload_id), flac)
    except AudioError as error:
        raise of_library(error, "storage-full") from error
    values = {"id": upload_id, "owner": owner, "sha256": digest, "name": name, "bytes": size, "created_at": now()}
    values |= {"num_samples": decoded.num_samples, "sample_rate_hz": decoded.sample_rate_hz}
    values |= {"channels": decoded.channels}

    def add(db: sqlite3.Connection) -> sqlite3.Row:
        # Sent twice at the same time: the first one stays.
        found = _renewed(db, owner, digest)
        if found is None:
            rows.insert(db, "uploads", values)
            found = db.execute("SELECT * FROM uploads WHERE id = ?", (upload_id,)).fetchone()
        return found  # type: ignore[no-any-return]

    row = await parts.store.write(add)
    if row["id"] != upload_id:
        parts.files.remove_upload(upload_id)
    return row


def _renewed(db: sqlite3.Connection, owner: str, digest: str) -> sqlite3.Row | None:
    """The upload with this content, if the owner has it; the time for which it is kept begins again."""
    values = (now(), owner, digest)
    db.execute("UPDATE uploads SET created_at = ? WHERE owner = ? AND sha256 = ? AND used_at IS NULL", values)
    query = "SELECT * FROM uploads WHERE owner = ? AND sha256 = ?"
    return db.execute(query, (owner, digest)).fetchone()  # type: ignore[no-any-return]


async def _row(parts: Service, id: str, owner: str) -> sqlite3.Row:
    upload_id = checked_id("upload", id)
    return await parts.store.read(lambda db: rows.find(db, "uploads", "upload", upload_id, owner))


def _object(parts: Service, row: sqlite3.Row, *, had: bool) -> dict[str, Any]:
    created = datetime.fromisoformat(row["created_at"].replace("Z", "+00:00"))
    expires = None
    if row["used_at"] is None:
        expires = as_text(created + timedelta(seconds=parts.config.limits.upload_kept_s))
    return {
        "id": row["id"],
        "name": row["name"],
        "duration_s": row["num_samples"] / row["sample_rate_hz"],
        "sample_rate_hz": row["sample_rate_hz"],
        "channels": row["channels"],
        "bytes": row["bytes"],
        "already_had": had,
        "created_at": row["created_at"],
        "expires_at": expires,
    }
