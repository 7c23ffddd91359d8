"""What the server says about itself: state, models, health, metrics, events, problems."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from descant.apps.server.adapter_names import adapter_names
from descant.apps.server.auth import Admin, Listener, Reader
from descant.apps.server.describing import server_object
from descant.apps.server.problems import TITLES, Problem, later, not_found
from descant.apps.server.reference_page import reference_page
from descant.apps.server.routes.answers import problems
from descant.apps.server.routes.jobs import event_stream
from descant.apps.server.service import Parts, Service

router = APIRouter(tags=["server"])
open_router = APIRouter(tags=["health"])


class MetricsResponse(Response):
    """Metrics in the text format of Prometheus."""

    media_type = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/v1/server", responses=problems())
async def server(owner: Reader, parts: Parts) -> dict[str, Any]:
    """The state of this server, its limits, and what the owner may do."""
    return await server_object(parts, owner)


@router.get("/v1/models", responses=problems())
async def list_models(owner: Reader, parts: Parts) -> dict[str, Any]:
    """The models of this server: the one that it was started with."""
    del owner
    model = parts.production.host.last_model
    return {"items": [] if model is None else [_described(parts, model)], "next_cursor": None}


@router.post("/v1/models/{id:path}/load", responses=problems(404, 503))
async def load_model(id: str, owner: Admin, parts: Parts) -> dict[str, Any]:
    """Loads a model that was unloaded; it is there when its `loaded` is true."""
    del owner
    model = _model(parts, id)
    parts.production.host.load()
    return _described(parts, model)


@router.post("/v1/models/{id:path}/unload", responses=problems(404, 409, 503))
async def unload_model(id: str, owner: Admin, parts: Parts) -> dict[str, Any]:
    """Frees the memory of a model that is making nothing; the next job loads it again."""
    del owner
    model = _model(parts, id)
    await parts.production.unload()
    return _described(parts, model)


@router.get("/v1/models/{id:path}", responses=problems(404, 503))
async def get_model(id: str, owner: Reader, parts: Parts) -> dict[str, Any]:
    """A model, what it can do and what not."""
    del owner
    return _described(parts, _model(parts, id))


@router.get("/v1/adapters", responses=problems())
async def list_adapters(owner: Reader, parts: Parts) -> dict[str, Any]:
    """The adapters that jobs may name, in the order of their names."""
    del owner
    names = await asyncio.to_thread(adapter_names, parts.config.adapters)
    return {"items": [{"name": name} for name in names], "next_cursor": None}


@router.get("/v1/events", responses=problems())
async def events(
    owner: Reader, parts: Parts, last_event_id: Annotated[str | None, Header(max_length=100)] = None
) -> Response:
    """Everything that happens to the owner's things, as Server-Sent Events."""
    return event_stream(parts.hub.stream(owner.id, last_event_id))


@router.get("/metrics", response_class=MetricsResponse, responses=problems())
async def metrics(owner: Reader, parts: Parts) -> Response:
    """Numbers for Prometheus."""
    del owner
    await parts.refresh_metrics()
    return MetricsResponse(parts.metrics.text())


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request, owner: Listener) -> dict[str, Any]:
    """The description of all routes."""
    del owner
    return request.app.openapi()  # type: ignore[no-any-return]


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
async def reference(request: Request, owner: Listener) -> str:
    """The same as a page."""
    del owner
    return await asyncio.to_thread(reference_page, request.app.openapi())


@router.get("/problems/{slug}", response_class=HTMLResponse, responses=problems(404))
async def problem(slug: str, owner: Listener) -> Response:
    """What a problem means."""
    del owner
    if slug not in TITLES:
        raise not_found("problem", slug)
    status, title = TITLES[slug]
    return HTMLResponse(f"<!doctype html><title>{slug}</title><h1>{title}</h1><p>{slug}, HTTP status {status}.</p>")


@open_router.get("/health/live")
async def live() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "live"}


@open_router.get("/health/ready", responses=problems(503))
async def ready(parts: Parts) -> Response:
    """Whether jobs are made now; an unloaded model is loaded by the next one."""
    if parts.failure is not None:
        raise Problem("not-ready", "the engine cannot run; the log says why", headers={"Retry-After": "60"})
    state = parts.production.state
    if state not in ("ready", "unloaded"):
        raise later("draining" if state == "draining" else "not-ready", f"the server is {state}", 3)
    if parts.production.host.is_silent:
        raise later("not-ready", "the engine has work and is silent", 5)
    if not parts.files.is_writable():
        raise later("not-ready", "the disk cannot be written", 30)
    return JSONResponse({"status": state})


def _model(parts: Service, id: str) -> dict[str, Any]:
    model = parts.production.host.last_model
    if model is None and id == parts.config.model:
        raise later("not-ready", f"model {id:.100} is being loaded", 3)
    if model is None or model["id"] != id:
        raise not_found("model", id)
    return model


def _described(parts: Service, model: dict[str, Any]) -> dict[str, Any]:
    described = {name: value for name, value in model.items() if name not in ("device", "precision")}
    is_loaded = parts.production.host.model is not None
    return {**described, "loaded": is_loaded, "max_duration_s": parts.config.limits.duration_s}
