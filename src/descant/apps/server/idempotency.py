"""Requests that are sent twice and count once (draft-ietf-httpapi-idempotency-key-header-07)."""

import hashlib
import json
import re
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi.responses import JSONResponse
from starlette.responses import Response

from descant.apps.server.ids import now
from descant.apps.server.problems import at_fault, later
from descant.apps.server.store import Store

KEPT_HEADERS = ("location",)
POINTER = "/idempotency-key"
_KEY = re.compile(r"[\x21-\x7e]{1,128}")


class Idempotency:
    """The answers that are kept."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running: set[tuple[str, str, str]] = set()

    async def once(
        self, owner: str, route: str, key: str | None, body: Any, act: Callable[[], Awaitable[Response]]
    ) -> Response:
        """What ``act`` answers, or what it has answered to the same request before; without a key it simply acts.

        Raises:
            Problem: the key is no key, belongs to another request, or its first request is still being answered.
        """
        if key is None:
            return await act()
        if _KEY.fullmatch(key) is None:
            raise at_fault(POINTER, "must be 1 to 128 visible ASCII characters")
        place = (owner, route, key)
        if place in self._running:
            raise later("idempotency-in-progress", "the first request with this key is still being answered", 1)
        self._running.add(place)
        try:
            fingerprint = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
            known = await self._store.read(lambda db: _find(db, place))
            if known is not None:
                return _replayed(known, fingerprint)
            response = await act()
            if response.status_code < 300:
                await self._store.write(lambda db: _keep(db, place, fingerprint, response))
            return response
        finally:
            self._running.discard(place)


def _find(db: sqlite3.Connection, place: tuple[str, str, str]) -> sqlite3.Row | None:
    query = "SELECT * FROM idempotency WHERE owner = ? AND route = ? AND key = ?"
    return db.execute(query, place).fetchone()  # type: ignore[no-any-return]


def _keep(db: sqlite3.Connection, place: tuple[str, str, str], fingerprint: str, response: Response) -> None:
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    body = bytes(response.body).decode()
    values = (*place, fingerprint, response.status_code, json.dumps(headers), body, now())
    db.execute("INSERT OR IGNORE INTO idempotency VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)


def _replayed(known: sqlite3.Row, fingerprint: str) -> Response:
    if known["fingerprint"] != fingerprint:
        raise at_fault(POINTER, "was sent with another request; use a new one", "idempotency-mismatch")
    headers = {**json.loads(known["headers"]), "Idempotency-Replayed": "true"}
    return JSONResponse(json.loads(known["body"]), known["status"], headers)
