"""Sessions: a key exchanged for a cookie, which players and downloads of a browser send by themselves."""

from fastapi import APIRouter, Request, Response

from descant.apps.server.auth import COOKIE, SESSION_S, Listener
from descant.apps.server.routes.answers import problems

router = APIRouter(prefix="/v1/session", tags=["session"])


@router.post("", status_code=204, response_class=Response, responses=problems())
async def begin(request: Request, owner: Listener) -> Response:
    """Begins a session for the holder of a key."""
    response = Response(status_code=204)
    response.set_cookie(
        COOKIE,
        request.app.state.access.session(owner),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response


@router.delete("", status_code=204, response_class=Response, responses=problems())
async def end(owner: Listener) -> Response:
    """Ends it in this browser."""
    del owner
    response = Response(status_code=204)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response
