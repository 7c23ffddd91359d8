"""The application: routes, the checks before them, and how errors are answered."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from descant.apps.server.config import ServerConfig
from descant.apps.server.gate import Gate, problem_members
from descant.apps.server.invalid import invalid_request
from descant.apps.server.problems import Problem
from descant.apps.server.routes import (
    archives,
    clips,
    collections,
    compat,
    derived,
    jobs,
    listening,
    server,
    session,
    uploads,
)
from descant.apps.server.routes.answers import ProblemResponse
from descant.apps.server.service import Service
from descant.apps.server.studio import add_studio
from descant.version import __version__

BY_STATUS = {404: "not-found", 405: "method-not-allowed", 400: "malformed", 413: "too-large", 415: "unsupported-type"}

_log = logging.getLogger("descant.server")


def create_app(config: ServerConfig) -> FastAPI:
    """The application of a server; it begins with its lifespan."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with Service.running(config) as service:
            app.state.service, app.state.access = service, service.access
            yield

    app = FastAPI(
        title="Descant", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None,
        description="Music from text, melodies and chords. The conventions are in docs/protocol.md.",
    )  # fmt: skip
    groups = (jobs, clips, derived, archives, uploads, collections, listening, server, session, compat)
    routers = (*(group.router for group in groups), server.open_router)
    for router in routers:
        app.include_router(router)
    add_studio(app, config)
    app.state.routes = [route for part in (*routers, app) for route in part.routes if isinstance(route, Route)]
    app.add_middleware(Gate, json_bytes=config.limits.json_bytes, upload_bytes=config.limits.upload_bytes)
    app.exception_handler(Problem)(_answer_problem)
    app.exception_handler(RequestValidationError)(_answer_invalid)
    app.exception_handler(HTTPException)(_answer_http)
    app.exception_handler(Exception)(_answer_fault)
    return app


# Coroutines: functions would be called in another thread, which takes longer than they do.


async def _answer_problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    return ProblemResponse(problem_members(request.scope, problem), problem.status, problem.headers)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    """The problem of a request that does not have the form of its route."""
    assert isinstance(error, RequestValidationError)
    return await _answer_problem(request, invalid_request(error))


async def _answer_http(request: Request, error: Exception) -> Response:
    """The problem of an error that the framework raises itself."""
    assert isinstance(error, HTTPException)
    if error.status_code in (404, 405) and (allowed := _methods_of(request)):
        # The framework names the methods of one route only, and with a page takes every other path for one of a file.
        error = HTTPException(405, "Method Not Allowed", {"Allow": ", ".join(allowed)})
    slug = BY_STATUS.get(error.status_code, "malformed")
    detail = f"{request.method} {request.url.path}: {error.detail}"
    # It raises this status for bodies alone: those that are no text, or no form.
    errors = [{"pointer": "/", "detail": str(error.detail)}] if error.status_code == 400 else []
    return await _answer_problem(request, Problem(slug, detail, errors, dict(error.headers or {})))


def _methods_of(request: Request) -> list[str]:
    """What can be done at the path of a request; nothing where no route has it."""
    found = [route for route in request.app.state.routes if route.path_regex.match(request.scope["path"])]
    return sorted({method for route in found for method in route.methods})


async def _answer_fault(request: Request, error: Exception) -> Response:
    """Our fault: the log has all of it, the answer nothing but a number to look for there."""
    _log.error("request %s failed", request.state.id, exc_info=error)
    return await _answer_problem(request, Problem("internal", f"it is in the log under {request.state.id}"))
