"""Jobs over HTTP."""

import re
import sqlite3
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse, StreamingResponse

from descant.apps.server import rows
from descant.apps.server.auth import Maker, Reader
from descant.apps.server.ids import checked_id
from descant.apps.server.pages import MAX_PAGE, PAGE, cursor_number, page_of
from descant.apps.server.problems import Problem
from descant.apps.server.routes.answers import IdempotencyKey, problems
from descant.apps.server.schemas import JobList, JobObject, JobRequest, JobState, SectionsGiven
from descant.apps.server.service import Parts

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.post(
    "",
    status_code=202,
    response_model=JobObject,
    responses={201: {"model": JobObject}, **problems(404, 409, 410, 413, 415, 422, 429, 500, 501, 503, 507)},
)
async def submit(
    asked: JobRequest,
    owner: Maker,
    parts: Parts,
    prefer: Annotated[str | None, Header(max_length=200)] = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Adds a job to the queue."""

    async def act() -> Response:
        job = await parts.submit(owner.id, asked)
        status = 202
        wait = re.search(r"(?:^|[,;\s])wait=(\d{1,4})(?:$|[,;\s])", prefer or "")
        if wait is not None:
            seconds = min(int(wait.group(1)), parts.config.limits.wait_s)
            status = 201 if await parts.jobs.wait(job["id"], seconds) else 202
            job = await parts.jobs.get(owner.id, job["id"])
        return JSONResponse(job, status, {"Location": job["urls"]["self"]})

    return await parts.idempotency.once(owner.id, "jobs", idempotency_key, asked.model_dump(mode="json"), act)


@router.get("", response_model=JobList, responses=problems(422))
async def list_jobs(
    owner: Reader,
    parts: Parts,
    state: JobState | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = PAGE,
    cursor: str | None = None,
) -> dict[str, Any]:
    """The jobs of the owner, the newest first."""
    before = cursor_number(cursor)

    def find(db: sqlite3.Connection) -> list[tuple[sqlite3.Row, list[sqlite3.Row]]]:
        found = db.execute(
            "SELECT * FROM jobs WHERE owner = ? AND (? IS NULL OR state = ?) AND (? IS NULL OR number < ?) "
            "ORDER BY number DESC LIMIT ?",
            (owner.id, state, state, before, before, limit + 1),
        ).fetchall()
        return [(row, rows.clips_of(db, row["id"])) for row in found]

    found = await parts.store.read(find)
    count, next_cursor = page_of([row["number"] for row, _ in found], limit)
    return {"items": [parts.jobs.object(row, clips) for row, clips in found[:count]], "next_cursor": next_cursor}


@router.get("/{id}", response_model=JobObject, responses=problems(404))
async def get_job(id: str, owner: Reader, parts: Parts) -> dict[str, Any]:
    """A job."""
    return await parts.jobs.get(owner.id, checked_id("job", id))


@router.post("/{id}/cancel", response_model=JobObject, responses=problems(404))
async def cancel(id: str, owner: Maker, parts: Parts) -> dict[str, Any]:
    """Ends a job; what was made is kept."""
    return await parts.jobs.cancel(owner.id, checked_id("job", id))


@router.patch("/{id}", response_model=JobObject, responses=problems(404, 409, 415, 422, 503))
async def change(id: str, changes: SectionsGiven, owner: Maker, parts: Parts) -> dict[str, Any]:
    """Replaces the sections that are still to come, also while the music is made."""
    sections = [section.model_dump() for section in changes.sections]
    return await parts.jobs.change(owner.id, checked_id("job", id), sections)


@router.delete("/{id}", status_code=204, response_class=Response, responses=problems(404, 409))
async def delete(id: str, owner: Maker, parts: Parts) -> None:
    """Removes a job that has ended; its clips stay."""
    job_id = checked_id("job", id)

    def remove(db: sqlite3.Connection) -> None:
        row = rows.find(db, "jobs", "job", job_id, owner.id)
        if row["state"] not in rows.ENDED:
            raise Problem("wrong-state", f"job {job_id} is {row['state']}; cancel it first")
        db.execute("UPDATE clips SET job_id = NULL WHERE job_id = ?", (job_id,))
        db.execute("DELETE FROM jobs WHERE id = ?", (job_id,))

    await parts.store.write(remove)
    parts.hub.publish("job.deleted", {"job_id": job_id}, owner.id, job_id)


@router.get(
    "/{id}/events",
    response_class=StreamingResponse,
    responses={204: {"description": "The job has ended"}, **problems(404)},
)
async def job_events(
    id: str,
    owner: Reader,
    parts: Parts,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """The events of a job, up to its end."""
    job = await parts.jobs.get(owner.id, checked_id("job", id))
    # Without an end that is still to be told the stream would stay open for ever.
    has_end = last_event_id is not None and parts.hub.is_end_untold(last_event_id, job["id"])
    if not parts.jobs.is_open(job["id"]) and not has_end:
        return Response(status_code=204)
    return event_stream(parts.hub.stream(owner.id, last_event_id, job["id"]))


def event_stream(events: Any) -> StreamingResponse:
    """Server-Sent Events as an answer that no proxy holds back."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)
