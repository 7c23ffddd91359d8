"""What can be derived from a clip: its outline, its notes, and the recipe that makes it again."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict

from descant.apps.server import rows
from descant.apps.server.asked import checked
from descant.apps.server.audio_out import file_name, info_of, require_audio, transcribed
from descant.apps.server.auth import Maker, Reader
from descant.apps.server.ids import checked_id
from descant.apps.server.peaks import peaks, peaks_of_file
from descant.apps.server.problems import of_library
from descant.apps.server.routes.answers import StoredFile, problems
from descant.apps.server.routes.clips import file_response
from descant.apps.server.schemas import JobRequest
from descant.apps.server.service import Parts
from descant.apps.server.sources import check_sources
from descant.audio.pcm import from_pcm16
from descant.errors import MissingExtra
from descant.version import __version__

router = APIRouter(tags=["clips"])

RECIPE = 1
PerSecond = Annotated[int, Query(ge=1, le=1_000)]


class Recipe(BaseModel):
    """What makes a clip again. Further fields are for people."""

    model_config = ConfigDict(extra="allow")

    recipe: int = RECIPE
    request: JobRequest
    model_fingerprint: str | None = None


@router.get("/v1/clips/{id}/peaks", responses=problems(404, 409, 410, 422))
async def clip_peaks(id: str, owner: Reader, parts: Parts, per_s: PerSecond = 100) -> dict[str, Any]:
    """The outline of a clip; while it is made, of what there is."""
    clip_id = checked_id("clip", id)
    row = await parts.store.read(lambda db: rows.find(db, "clips", "clip", clip_id, owner.id))
    growing = parts.production.growing.get(clip_id)
    if growing is not None:
        samples = from_pcm16(await asyncio.to_thread(growing.content), growing.channels)
        return peaks(samples, growing.sample_rate_hz, per_s)
    require_audio(row)
    return await asyncio.to_thread(peaks_of_file, parts.files.audio(clip_id), per_s)


@router.get("/v1/clips/{id}/midi", response_class=StoredFile, responses=problems(404, 409, 410, 416, 501))
async def midi(
    id: str,
    owner: Reader,
    parts: Parts,
    if_none_match: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """The notes of a finished clip as a MIDI file."""
    await parts.production.finished(checked_id("clip", id))
    row = await parts.store.read(lambda db: rows.find(db, "clips", "clip", id, owner.id))
    require_audio(row)
    async with parts.transcribing:
        try:
            path = await asyncio.to_thread(transcribed, parts.files, parts.files.audio(row["id"]), row)
        except MissingExtra as error:
            raise of_library(error) from error
    return file_response(path, file_name(row, "mid"), "audio/midi", if_none_match)


@router.get("/v1/clips/{id}/recipe", responses=problems(404))
async def recipe(id: str, owner: Reader, parts: Parts) -> dict[str, Any]:
    """What makes this clip again."""
    row = await parts.store.read(lambda db: rows.find(db, "clips", "clip", checked_id("clip", id), owner.id))
    return {
        "recipe": RECIPE,
        "request": rows.request_of(row),
        "model": row["model"],
        "model_fingerprint": info_of(row).get("model_fingerprint"),
        "descant": __version__,
    }


@router.post("/v1/recipes/check", responses=problems(404, 409, 410, 413, 415, 422, 500, 501))
async def check_recipe(given: Recipe, owner: Maker, parts: Parts) -> dict[str, Any]:
    """What a recipe means here, and whether it is known to give the same music."""
    model = parts.production.host.last_model
    request = checked(given.request, parts.config.limits, model)
    await parts.store.read(lambda db: check_sources(db, request, owner.id))
    is_checked = await parts.production.check(owner.id, request)
    notes = []
    if model is None:
        notes.append("the model is still being loaded")
    elif not is_checked:
        notes.append("the engine has not checked it: it is not there, or has too much to do")
    if model is not None and given.model_fingerprint not in (None, model["fingerprint"]):
        notes.append(f"it was made by another version of the model {model['id']}: the music will differ")
    if request["adapters"]:
        notes.append("adapters are known by their names only: if their files have changed, the music will differ")
    return {"request": request, "is_exact": not notes, "notes": notes}
