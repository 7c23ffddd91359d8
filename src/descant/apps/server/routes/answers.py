"""What routes share: how they describe their problems, and how a page of a list ends."""

from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import FileResponse, JSONResponse
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from descant.apps.server.problems import Problem, at_fault
from descant.apps.server.schemas import ProblemObject

ANYWHERE = (400, 401, 403, 422)
IdempotencyKey = Annotated[str | None, Header(max_length=200)]


class ProblemResponse(JSONResponse):
    """A problem as an answer."""

    media_type = "application/problem+json"


class StoredFile(FileResponse):
    """A file, or the part of it that the header `Range` asks for; ranges of other units than bytes are ignored."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the file.

        Raises:
            Problem: the header has no ranges, or they lie outside the file.
        """

        async def send_no_refusal(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in (400, 416):
                raise _wrong_range(Headers(raw=list(message["headers"])))
            await send(message)

        headers = [(name, value) for name, value in scope["headers"] if name != b"range" or value.startswith(b"bytes=")]
        await super().__call__({**scope, "headers": headers}, receive, send_no_refusal)


def _wrong_range(refusal: Headers) -> Problem:
    """The problem of a range that the framework refuses in words of its own."""
    place = refusal.get("content-range")
    if place is None:
        return at_fault("/range", "must be bytes of the file, such as bytes=0-999", "malformed")
    problem = at_fault("/range", f"the file has {place.rpartition('/')[2]} bytes; ask for some of them", "range")
    problem.headers["Content-Range"] = place
    return problem


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, for its description; those that any route may have are added."""
    schema = {"$ref": f"#/components/schemas/{ProblemObject.__name__}"}
    described = {"description": "A problem", "content": {ProblemResponse.media_type: {"schema": schema}}}
    return dict.fromkeys(sorted({*ANYWHERE, *statuses}), described)
