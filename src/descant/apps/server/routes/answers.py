"""What routes share: how they describe their problems, and how a page of a list ends."""

from typing import Annotated, Any

from fastapi import Header
from fastapi.responses import JSONResponse

from descant.apps.server.schemas import ProblemObject

ANYWHERE = (400, 401, 403, 422)
IdempotencyKey = Annotated[str | None, Header(max_length=200)]


class ProblemResponse(JSONResponse):
    """A problem as an answer."""

    media_type = "application/problem+json"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route may answer with, for its description; those that any route may have are added."""
    schema = {"$ref": f"#/components/schemas/{ProblemObject.__name__}"}
    described = {"description": "A problem", "content": {ProblemResponse.media_type: {"schema": schema}}}
    return dict.fromkeys(sorted({*ANYWHERE, *statuses}), described)
