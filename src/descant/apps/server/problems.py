"""Problems: every error that the server answers with (RFC 9457)."""

import logging
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from descant.apps.field_names import WIRE_NAMES, renamed
from descant.errors import DescantError

TITLES: dict[str, tuple[int, str]] = {
    "malformed": (400, "The request cannot be read"),
    "bad-host": (400, "This server has another name"),
    "unauthorized": (401, "A key is needed"),
    "forbidden": (403, "This key may not do that"),
    "bad-origin": (403, "The request comes from another site"),
    "not-found": (404, "There is no such thing"),
    "method-not-allowed": (405, "This cannot be done here"),
    "wrong-state": (409, "That is not possible now"),
    "too-late": (409, "The music has passed that point"),
    "not-finished": (409, "The clip is still being made"),
    "idempotency-in-progress": (409, "The first request with this key is still being answered"),
    "audio-dropped": (410, "The audio was dropped to make room"),
    "changed": (412, "It was changed meanwhile"),
    "too-large": (413, "The request is too large"),
    "unsupported-type": (415, "This type is not accepted"),
    "range": (416, "The range lies outside the file"),
    "invalid-request": (422, "The request is not valid"),
    "bad-audio": (422, "The audio cannot be used"),
    "model-cannot": (422, "This model cannot do that"),
    "idempotency-mismatch": (422, "This key was used for another request"),
    "queue-full": (429, "The queue is full"),
    "too-many-streams": (429, "Too many streams are open"),
    "internal": (500, "Something is wrong with the server"),
    "engine-failed": (500, "The engine failed"),
    "extra-missing": (501, "A part that is not installed is needed"),
    "draining": (503, "The server is shutting down"),
    "not-ready": (503, "The server is not ready"),
    "engine-busy": (503, "The engine does not answer"),
    "storage-full": (507, "The storage is full"),
}
"""Status and title by slug."""

_log = logging.getLogger("descant.server")
_FIELD = re.compile(r"([a-z_]+(?:[.\[][a-z_0-9]+\]?)*)[=:]")
SLUGS = {"MissingExtra": "extra-missing", "AudioError": "bad-audio"}
"""Of errors of the library by their class; the request is invalid where it is another one."""


@dataclass(eq=False)
class Problem(Exception):
    """An error with its slug; raised anywhere below a route.

    Args:
        errors: the fields at fault, with ``pointer`` and ``detail`` and whatever else helps.
        headers: of the answer, such as ``Retry-After``.
    """

    slug: str
    detail: str
    errors: list[dict[str, Any]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return TITLES[self.slug][0]

    def to_dict(self) -> dict[str, Any]:
        """The members that do not depend on the request."""
        status, title = TITLES[self.slug]
        members = {"type": f"/problems/{self.slug}", "title": title, "status": status, "detail": self.detail}
        return {**members, **({"errors": self.errors} if self.errors else {})}


def at_fault(pointer: str, detail: str, slug: str = "invalid-request", **also: Any) -> Problem:
    """A problem of one field."""
    return Problem(
        slug, f"{pointer.strip('/').replace('/', '.')}: {detail}", [{"pointer": pointer, "detail": detail, **also}]
    )


def of_library(error: DescantError, slug: str | None = None) -> Problem:
    """The problem that an error of the library is; the field that its message begins with is the one at fault."""
    return _of_words(str(error), slug or SLUGS.get(type(error).__name__, "invalid-request"))


def of_refusal(refusal: Mapping[str, Any]) -> Problem:
    """The problem of a request that the engine has refused, or that it could not handle (`engine/messages.py`)."""
    if refusal["error"] is None:
        _log.error("the engine failed: %s", refusal["detail"])
        return Problem("engine-failed", "the engine failed over this request; its log says why")
    return _of_words(refusal["detail"], SLUGS.get(refusal["error"], "invalid-request"))


def of_error(error: Exception) -> Problem:
    """The problem of a clip that cannot be made or kept because of an error in the server."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, DescantError):
        return of_library(error)
    _log.error("a clip cannot be made or kept", exc_info=error)
    if isinstance(error, OSError | sqlite3.OperationalError):
        # Without the path that an OSError names.
        reason = error.strerror if isinstance(error, OSError) else error
        return Problem("storage-full", f"the server cannot read or write its files: {reason}; make room on the disk")
    return Problem("internal", "the server failed over this clip; its log says why")


def of_members(members: Mapping[str, Any]) -> Problem:
    """The problem with these members, as `Problem.to_dict` gives them."""
    return Problem(members["type"].removeprefix("/problems/"), members["detail"], members.get("errors") or [])


def not_found(kind: str, id: str) -> Problem:
    """There is no such thing, or it is another owner's."""
    return Problem("not-found", f"there is no {kind} {id!r:.60}")


def later(slug: str, detail: str, seconds: float | int) -> Problem:
    """A refusal that a later try may not meet."""
    return Problem(slug, detail, headers={"Retry-After": str(max(1, round(seconds)))})


def _of_words(message: str, slug: str) -> Problem:
    """The problem with the message of an error, in which fields get the names that they have in the protocol."""
    detail = renamed(message, WIRE_NAMES)
    match = _FIELD.match(detail)
    if match is None:
        return Problem(slug, detail)
    pointer = "/" + match.group(1).replace(".", "/")
    return Problem(slug, detail, [{"pointer": pointer, "detail": detail}])
