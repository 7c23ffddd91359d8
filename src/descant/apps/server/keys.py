"""Keys: who may use a server that others can reach. The file has hashes only."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from descant.apps.server.ids import new_id, now
from descant.atomic import write_atomically
from descant.errors import DataError, InvalidRequest
from descant.folder_lock import locked

SCOPES = ("read", "generate", "listen", "admin")
TOKEN_PREFIX = "dsc_"
SECRET_BYTES = 32
MAX_NAME_CHARACTERS = 100
ALONE_S, LOOK_S = 5.0, 0.01
"""How long a change of the keys waits for that of another process, and how often it looks."""


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key as it is kept. Its ``id`` is the owner of everything that is made with it."""

    id: str
    name: str
    sha256: str
    scopes: tuple[str, ...]
    created_at: str
    revoked_at: str | None = None


class KeyFile:
    """The keys of a file; it is read again whenever it has changed, so that a revoked key ends at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[object, tuple[Key, ...]] = (None, ())

    def keys(self) -> tuple[Key, ...]:
        """All keys, revoked ones too.

        Raises:
            DataError: the file is broken.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return ()
        identity = (found.st_ino, found.st_mtime_ns, found.st_size)
        if self._read[0] != identity:
            self._read = (identity, _read(self.path))
        return self._read[1]

    def is_empty(self) -> bool:
        """Whether no key is valid."""
        return all(key.revoked_at is not None for key in self.keys())

    def holder(self, token: str) -> Key | None:
        """The valid key with this token."""
        digest = _digest(token)
        found = None
        for key in self.keys():
            # All of them are compared, so that the time does not tell how far one agrees.
            if hmac.compare_digest(key.sha256, digest) and key.revoked_at is None:
                found = key
        return found

    def by_id(self, id: str) -> Key | None:
        """The valid key of this owner."""
        return next((key for key in self.keys() if key.id == id and key.revoked_at is None), None)

    def add(self, name: str, scopes: tuple[str, ...]) -> tuple[Key, str]:
        """A new key and its token, which is nowhere else.

        Raises:
            InvalidRequest: the name is taken or none that can be shown on a line, or a scope is unknown.
        """
        scopes = tuple(dict.fromkeys(scopes))
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            raise InvalidRequest(f"--scope {(unknown or ['none'])[0]!r:.40}: allowed are {', '.join(SCOPES)}")
        if not (name.strip() and name.isprintable() and len(name) <= MAX_NAME_CHARACTERS):
            raise InvalidRequest(
                f"NAME {name!r:.60}: give 1 to {MAX_NAME_CHARACTERS} letters and other characters that can be printed"
            )
        token = TOKEN_PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        key = Key(id=new_id("key"), name=name, sha256=_digest(token), scopes=scopes, created_at=now())
        with self._alone():
            if any(other.name == name and other.revoked_at is None for other in self.keys()):
                raise InvalidRequest(f"NAME {name!r:.60}: give a name that no other key has")
            self._write((*self.keys(), key))
        return key, token

    def revoke(self, name: str) -> Key:
        """Ends a key, by its name or id.

        Raises:
            InvalidRequest: there is none of this name.
        """
        with self._alone():
            for key in self.keys():
                if name in (key.name, key.id) and key.revoked_at is None:
                    ended = Key(**{**asdict(key), "revoked_at": now()})
                    self._write(tuple(ended if one.id == key.id else one for one in self.keys()))
                    return ended
        raise InvalidRequest(f"NAME {name!r:.60}: no valid key has this name; descant serve keys list shows them")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Within the block no other process changes the file: of two changes at once, one would be lost.

        Raises:
            InvalidRequest: another one has been at it for seconds.
            DataError: nothing can be written beside the file.
        """
        deadline = time.monotonic() + ALONE_S
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(locked(self.path.parent, f".{self.path.name}.lock"))
                    break
                except InvalidRequest:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(LOOK_S)
            yield

    def _write(self, keys: tuple[Key, ...]) -> None:
        if not self.path.exists():
            self.path.touch(mode=0o600)
        content = json.dumps({"keys": [asdict(key) for key in keys]}, indent=2) + "\n"
        write_atomically(self.path, content.encode())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _read(path: Path) -> tuple[Key, ...]:
    if path.stat().st_size == 0:
        return ()
    try:
        given = json.loads(path.read_text(encoding="utf-8"))["keys"]
        return tuple(_key(one) for one in given)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{str(path)!r} is not a file of keys: {error}") from error


def _key(given: dict[str, Any]) -> Key:
    """The key that an entry of the file is.

    Raises:
        TypeError, KeyError, ValueError: it is none.
    """
    key = Key(**{**given, "scopes": tuple(given["scopes"])})
    texts = (key.id, key.name, key.sha256, key.created_at, *([] if key.revoked_at is None else [key.revoked_at]))
    if not all(isinstance(text, str) for text in texts) or not set(key.scopes) <= set(SCOPES):
        raise ValueError(f"the key {key.name!r:.60} has fields that no key has")
    return key
