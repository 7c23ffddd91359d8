"""Music for programs that speak the dialects of OpenAI's audio routes and of hosted Hugging Face models."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from descant.apps.field_names import renamed
from descant.apps.server import rows
from descant.apps.server.audio_out import TYPES, AudioFormat, Wanted, exported, file_name, info_of
from descant.apps.server.auth import Maker
from descant.apps.server.problems import Problem, at_fault, of_members
from descant.apps.server.routes.answers import StoredFile, problems
from descant.apps.server.routes.clips import StreamFormat, stream_response
from descant.apps.server.schemas import Given, GuidanceGiven, JobRequest, ModelName, SamplingGiven, Seed, Text
from descant.apps.server.service import Parts, Service

router = APIRouter(tags=["other dialects"])

LOOK_S = 0.25
"""How often it is checked whether the client is still there."""
REFUSED = {
    "steps": "this model draws codes one after another and has no steps to choose",
    "lyrics": "this model does not sing",
}

MUSIC_NAMES = {"duration_s": "duration", "negative_text": "negative_prompt", "guidance.scale": "guidance"}
MODEL_NAMES = {
    "text": "inputs",
    "duration_s": "parameters.duration",
    "seed": "parameters.seed",
    "guidance.scale": "parameters.guidance_scale",
    **{f"sampling.{name}": f"parameters.{name}" for name in ("temperature", "top_k", "top_p")},
    "sampling.greedy=True": "parameters.do_sample=false",
}
"""The fields of a job in the dialects."""
ELSEWHERE = {"long_prompt='cut'": "long_prompt='cut' of POST /v1/jobs"}
"""What an error may suggest, and no dialect has."""


class MusicGiven(Given):
    """What `POST /v1/audio/music` takes."""

    prompt: Text | None = None
    input: Text | None = None
    model: ModelName | None = None
    duration: float = 10.0
    seed: Seed | None = None
    response_format: Literal["wav", "mp3", "flac", "opus", "pcm"] = "wav"
    guidance: float | None = None
    negative_prompt: Text | None = None
    stream: bool = False
    steps: Any = None
    lyrics: Any = None


class Parameters(Given):
    """The parameters of hosted MusicGen endpoints."""

    duration: float = 10.0
    seed: Seed | None = None
    guidance_scale: float | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    do_sample: bool = True


class ModelGiven(Given):
    """What `POST /models/{id}` takes."""

    inputs: Text
    parameters: Annotated[Parameters, Field(default_factory=Parameters)]


@router.post(
    "/v1/audio/music",
    response_class=StreamingResponse,
    responses=problems(404, 409, 410, 413, 415, 422, 429, 500, 501, 503, 507),
)
async def music(given: MusicGiven, request: Request, owner: Maker, parts: Parts) -> Response:
    """Music in one call. A client that goes away ends the job."""
    for name, reason in REFUSED.items():
        if getattr(given, name) is not None:
            raise at_fault(f"/{name}", f"{reason}; leave it out")
    if given.prompt is not None and given.input is not None:
        raise at_fault("/input", "it means the same as prompt; give one of them")
    asked = JobRequest(
        model=given.model,
        text=given.input if given.prompt is None else given.prompt,
        negative_text=given.negative_prompt,
        duration_s=given.duration,
        seed=given.seed,
        guidance=GuidanceGiven(scale=given.guidance),
    )
    names = {**MUSIC_NAMES, "text": "input" if given.prompt is None else "prompt"}
    with _renamed(names):
        if given.stream:
            if given.response_format not in ("wav", "mp3", "pcm"):
                raise at_fault("/response_format", "a stream is wav, mp3 or pcm", got=given.response_format)
            return await _streamed(parts, owner.id, asked, given.response_format)
        clip_id = await _made(parts, owner.id, asked, request)
    if given.response_format == "pcm":
        clip = await _clip(parts, owner.id, clip_id)
        response = await stream_response(parts, clip, owner.id, "pcm", 0.0)
        response.headers["X-Descant-Clip"] = clip_id
        return response
    return await _file(parts, owner.id, clip_id, given.response_format)


@router.post(
    "/models/{id:path}",
    response_class=StoredFile,
    responses=problems(404, 409, 410, 413, 415, 416, 422, 429, 500, 501, 503, 507),
)
async def model(id: ModelName, given: ModelGiven, request: Request, owner: Maker, parts: Parts) -> Response:
    """Music in one call, as hosted models make it."""
    one = given.parameters
    asked = JobRequest(
        model=id,
        text=given.inputs,
        duration_s=one.duration,
        seed=one.seed,
        guidance=GuidanceGiven(scale=one.guidance_scale),
        sampling=SamplingGiven(
            temperature=one.temperature, top_k=one.top_k, top_p=one.top_p, greedy=None if one.do_sample else True
        ),
    )
    with _renamed(MODEL_NAMES):
        clip_id = await _made(parts, owner.id, asked, request)
    return await _file(parts, owner.id, clip_id, "wav")


@contextmanager
def _renamed(names: Mapping[str, str]) -> Iterator[None]:
    """Names the fields of problems in the block as the dialect does."""
    words = {**names, **ELSEWHERE}
    try:
        yield
    except Problem as problem:
        errors = [
            {**one, "pointer": _renamed_pointer(one["pointer"], names), "detail": renamed(one["detail"], words)}
            for one in problem.errors
        ]
        raise replace(problem, detail=renamed(problem.detail, words), errors=errors) from problem


def _renamed_pointer(pointer: str, names: Mapping[str, str]) -> str:
    field = pointer.strip("/").replace("/", ".")
    return "/" + names.get(field, field).replace(".", "/")


async def _made(parts: Service, owner: str, asked: JobRequest, request: Request) -> str:
    """Makes a clip, and gives its identifier.

    Raises:
        Problem: it cannot be made.
    """
    job = await parts.submit(owner, asked)
    try:
        while not await parts.jobs.wait(job["id"], LOOK_S):
            if await request.is_disconnected():
                await parts.jobs.cancel(owner, job["id"])
                raise Problem("wrong-state", "the client has gone; the job was cancelled")
    except asyncio.CancelledError:
        await asyncio.shield(parts.jobs.cancel(owner, job["id"]))
        raise
    ended = await parts.jobs.get(owner, job["id"])
    if ended["state"] != "succeeded":
        if ended["problem"] is None:
            raise Problem("wrong-state", "the job was cancelled")
        raise of_members(ended["problem"])
    return str(ended["clips"][0]["id"])


async def _streamed(parts: Service, owner: str, asked: JobRequest, format: StreamFormat) -> Response:
    job = await parts.submit(owner, asked)
    clip = job["clips"][0]
    response = await stream_response(parts, clip, owner, format, 0.0)
    assert isinstance(response, StreamingResponse)
    response.body_iterator = _cancelling(parts, owner, job["id"], response.body_iterator)
    response.headers["X-Descant-Clip"] = clip["id"]
    return response


async def _cancelling(parts: Service, owner: str, job_id: str, content: Any) -> AsyncIterator[bytes]:
    """The content. If it is not read to its end its job is cancelled; if it is incomplete the connection breaks.

    Raises:
        Problem: the job has failed: the client must not take what it has for all of it.
    """
    is_read = False
    try:
        async for block in content:
            yield block
        is_read = True
    finally:
        if not is_read:
            await asyncio.shield(parts.jobs.cancel(owner, job_id))
    await parts.jobs.wait(job_id, LOOK_S)
    ended = await parts.jobs.get(owner, job_id)
    if ended["state"] in ("failed", "cancelled"):
        raise Problem("engine-failed", "the music is not complete")


async def _clip(parts: Service, owner: str, clip_id: str) -> dict[str, Any]:
    row = await parts.store.read(lambda db: rows.find(db, "clips", "clip", clip_id, owner))
    return parts.jobs.clip_object(row)


async def _file(parts: Service, owner: str, clip_id: str, format: AudioFormat) -> Response:
    row = await parts.store.read(lambda db: rows.find(db, "clips", "clip", clip_id, owner))
    wanted = Wanted(format=format)
    path = await asyncio.to_thread(exported, parts.files, parts.files.audio(clip_id), clip_id, info_of(row), wanted)
    headers = {"X-Descant-Clip": clip_id, "Cache-Control": "no-store"}
    return StoredFile(path, media_type=TYPES[format], filename=file_name(row, format), headers=headers)
