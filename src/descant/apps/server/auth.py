"""Who asks, and whether they may: keys, sessions, and the checks against requests that other sites send."""

import hashlib
import hmac
import ipaddress
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from descant.apps.server.config import ServerConfig
from descant.apps.server.keys import SCOPES, KeyFile
from descant.apps.server.problems import Problem
from descant.atomic import write_atomically

COOKIE = "descant_session"
SECRET_BYTES = 32
SESSION_S = 30 * 24 * 3_600
LOCAL = "local"
CHANGING = ("POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True)
class Owner:
    """Whose request it is, and what they may do."""

    id: str
    scopes: tuple[str, ...]


class Access:
    """The checks of a server."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self.keys = KeyFile(config.keys)
        self._secret = _secret(config.folder / "session.secret")

    @property
    def is_open(self) -> bool:
        """Whether everyone on this machine may use it without a key."""
        return self.keys.is_empty() and is_loopback(self._config.host)

    def check_host(self, host: str | None) -> None:
        """Refuses names that are not this server's: a page of another site may point its own name at this address.

        Raises:
            Problem: it is one.
        """
        name = _host_of(f"//{host or ''}")
        allowed = {self._config.host, "localhost", *map(str.lower, self._config.allowed_hosts)}
        if (
            name not in allowed
            and not (_is_address(name) and not is_loopback(self._config.host))
            and not _is_local(name)
        ):
            raise Problem(
                "bad-host", f"Host {name!r:.100} is not this server; descant serve --allowed-host {name:.60} allows it"
            )

    def check_origin(self, request: Request) -> None:
        """Refuses changes that a page of another site asks for.

        Raises:
            Problem: one does.
        """
        origin = request.headers.get("origin")
        if request.method not in CHANGING or origin is None or origin in self._config.allowed_origins:
            return
        if origin.partition("//")[2] != request.headers.get("host"):
            raise Problem("bad-origin", f"Origin {origin!r:.100} may not change anything here")

    def owner(self, request: Request) -> Owner:
        """Who asks.

        Raises:
            Problem: nobody whom this server knows.
        """
        if self.is_open:
            return Owner(LOCAL, SCOPES)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = self.keys.holder(token.strip()) if scheme.lower() == "bearer" and token else None
        if key is None and COOKIE in request.cookies:
            id = self._session_owner(request.cookies[COOKIE])
            key = None if id is None else self.keys.by_id(id)
        if key is None:
            detail = "send a key: Authorization: Bearer dsc_…; descant serve keys add NAME makes one"
            raise Problem("unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})
        return Owner(key.id, key.scopes)

    def session(self, owner: Owner) -> str:
        """The content of a cookie for this owner."""
        head = f"{owner.id}.{int(time.time()) + SESSION_S}"
        return f"{head}.{self._signature(head)}"

    def _session_owner(self, cookie: str) -> str | None:
        head, _, signature = cookie.rpartition(".")
        id, _, until = head.rpartition(".")
        is_ours = hmac.compare_digest(signature.encode(), self._signature(head).encode())
        return id if is_ours and until.isdigit() and int(until) > time.time() else None

    def _signature(self, head: str) -> str:
        return hmac.new(self._secret, head.encode(), hashlib.sha256).hexdigest()


def needs(scope: str) -> Callable[[Request], Awaitable[Owner]]:
    """A dependency of routes: the owner, who must have this scope."""

    async def owner_with_scope(request: Request) -> Owner:
        access: Access = request.app.state.access
        owner = access.owner(request)
        if scope not in owner.scopes:
            raise Problem("forbidden", f"this key has the scopes {', '.join(owner.scopes)}; {scope} is needed")
        return owner

    return owner_with_scope


Reader = Annotated[Owner, Depends(needs("read"))]
Maker = Annotated[Owner, Depends(needs("generate"))]
Listener = Annotated[Owner, Depends(needs("listen"))]
Admin = Annotated[Owner, Depends(needs("admin"))]


def _host_of(url: str) -> str:
    """The name of a host without its port; empty if there is none."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:  # half of an IPv6 address
        return ""


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(name: str) -> bool:
    return is_loopback(name)


def _secret(path: Path) -> bytes:
    """The secret that signs sessions, made once; without it everybody would have to log in after a restart."""
    known = path.read_bytes() if path.exists() else b""
    if len(known) == SECRET_BYTES:
        return known
    # Complete or not at all: with half of a secret everybody could sign sessions.
    path.touch(mode=0o600)
    secret = os.urandom(SECRET_BYTES)
    write_atomically(path, secret)
    return secret
