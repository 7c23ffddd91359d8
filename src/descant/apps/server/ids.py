"""Identifiers, and times of day as text."""

import re
import secrets
from datetime import datetime, timezone

from descant.apps.server.problems import not_found

ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
"""Base 58: no characters that look alike."""
LENGTH = 22
PREFIXES = {"job": "job", "clip": "clip", "upload": "upl", "collection": "col", "listening test": "test", "key": "key"}

_ID = re.compile(rf"[a-z]+_[{ALPHABET}]{{{LENGTH}}}", re.ASCII)


def new_id(kind: str) -> str:
    """A new identifier with 128 random bits."""
    number, digits = secrets.randbits(128), ""
    for _ in range(LENGTH):
        number, digit = divmod(number, len(ALPHABET))
        digits = ALPHABET[digit] + digits
    return f"{PREFIXES[kind]}_{digits}"


def is_id(text: str) -> bool:
    """Whether a text has the form of an identifier."""
    return _ID.fullmatch(text) is not None


def checked_id(kind: str, id: str) -> str:
    """The identifier, if it can be one; nothing else may become a part of a query or a path.

    Raises:
        Problem: it cannot, so there is no such thing.
    """
    if not is_id(id) or not id.startswith(f"{PREFIXES[kind]}_"):
        raise not_found(kind, id)
    return id


def now() -> str:
    """The time of day in UTC, to the millisecond; later times are larger texts."""
    return as_text(datetime.now(timezone.utc))


def as_text(time: datetime) -> str:
    """A time as on the wire."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
