"""What every request passes before its route: the checks of host and origin, the limits of bodies, and its number.

Written for ASGI itself: bytes are counted as they arrive, and answers that stream go through untouched.
"""

import json
import logging
import secrets
import time
from collections.abc import Mapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from descant.apps.server.problems import Problem

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
MULTIPART_ROOM = 2**16
"""What a form may need besides its file."""
UPLOADS = "/v1/uploads"
SUBMITTING = ("/v1/jobs", "/v1/audio/music")
"""Where jobs come in."""

_log = logging.getLogger("descant.server")


class Gate:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, json_bytes: int, upload_bytes: int) -> None:
        self._app, self._json_bytes, self._upload_bytes = app, json_bytes, upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})["id"] = secrets.token_hex(8)
        began, status = time.monotonic(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(raw=message["headers"])
                headers["X-Request-Id"] = scope["state"]["id"]
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                message["headers"] = headers.raw
                _observe(scope, status, time.monotonic() - began)
            await send(message)

        refused: list[Problem] = []

        async def send_unless_refused(message: Message) -> None:
            # FastAPI answers that a body which ended in an error cannot be parsed.
            if not refused:
                await send_with_headers(message)

        try:
            self._check(scope)
            await self._app(scope, self._limited(scope, receive, refused), send_unless_refused)
        except Problem as problem:
            refused.append(problem)
        if refused and status == 0:
            await send_problem(scope, send_with_headers, refused[0])

    def _check(self, scope: Scope) -> None:
        request = Request(scope)
        access = scope["app"].state.access if "app" in scope else None
        if access is not None:
            access.check_host(request.headers.get("host"))
            access.check_origin(request)
        length = request.headers.get("content-length")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise Problem("malformed", f"Content-Length {length!r:.40} is not a number of bytes")
        if length is not None and len(length) < 20 and int(length) > self._limit(scope):
            raise self._too_large(scope)
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Problem("unsupported-type", "compressed bodies are not read here; send it as it is")
        self._check_type(scope, request.headers, length)
        if access is not None and scope["method"] == "POST" and scope["path"] in SUBMITTING:
            _check_queue(scope, request)

    def _check_type(self, scope: Scope, headers: Headers, length: str | None) -> None:
        """Only JSON, and files for uploads: a form of another site cannot send either without asking first."""
        has_body = (length is not None and int(length) > 0) or "transfer-encoding" in headers
        if not has_body or scope["method"] not in ("POST", "PUT", "PATCH"):
            return
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        allowed = "multipart/form-data" if _is_upload(scope) else "application/json"
        if kind != allowed:
            raise Problem("unsupported-type", f"Content-Type {kind!r:.60}: send {allowed}")

    def _limited(self, scope: Scope, receive: Receive, refused: list[Problem]) -> Receive:
        """Counts the bytes of a body as they arrive, whatever its headers promise, and notes when it is refused."""
        left = self._limit(scope)

        async def receive_limited() -> Message:
            nonlocal left
            message = await receive()
            if message["type"] == "http.request":
                left -= len(message.get("body", b""))
                if left < 0:
                    refused.append(self._too_large(scope))
                    raise refused[0]
            return message

        return receive_limited

    def _limit(self, scope: Scope) -> int:
        return self._upload_bytes + MULTIPART_ROOM if _is_upload(scope) else self._json_bytes

    def _too_large(self, scope: Scope) -> Problem:
        return Problem(
            "too-large", f"at most {self._limit(scope)} bytes are read here", headers={"Connection": "close"}
        )


async def send_problem(scope: Scope, send: Send, problem: Problem) -> None:
    """Answers with a problem."""
    content = json.dumps(problem_members(scope, problem)).encode()
    headers = {"content-type": "application/problem+json", "content-length": str(len(content)), **problem.headers}
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw})
    await send({"type": "http.response.body", "body": content})


def problem_members(scope: Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    """All members of a problem; for programs that speak OpenAI's dialect also those that they look for."""
    members = {**problem.to_dict(), "instance": scope["path"], "request_id": scope["state"]["id"]}
    if scope["path"].startswith("/v1/audio/"):
        param = problem.errors[0]["pointer"].strip("/") if problem.errors else None
        kind = "invalid_request_error" if problem.status < 500 else "server_error"
        members["error"] = {"message": problem.detail, "type": kind, "code": problem.slug, "param": param}
    return members


def _check_queue(scope: Scope, request: Request) -> None:
    """Refuses a job for which there is no place before its body is read: a full queue has many to refuse.

    One that may be a repetition passes, since its answer may be known.
    """
    if "idempotency-key" in request.headers:
        return
    state = scope["app"].state
    owner = state.access.owner(request)
    if "generate" in owner.scopes:
        state.service.jobs.require_place(owner.id)


def _is_upload(scope: Scope) -> bool:
    return bool(scope["path"] == UPLOADS)


def _observe(scope: Scope, status: int, seconds: float) -> None:
    unrouted = scope["path"] if scope["path"] in SUBMITTING else "none"
    path = getattr(scope.get("route"), "path", unrouted)
    scope["app"].state.service.metrics.requests.labels(path, str(status)).observe(seconds)
