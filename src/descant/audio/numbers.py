"""Numbers from callers, checked: a text, a bool or NaN is refused in a sentence instead of failing somewhere below."""

import sys
from typing import Any

from descant.errors import InvalidRequest
from descant.plain import plain


def checked_number(given: Any, name: str, allowed: str) -> int | float:
    """A finite number, as one of Python's own.

    Raises:
        InvalidRequest: it is none; ``allowed`` says what would be.
    """
    value = plain(given)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise InvalidRequest(f"{name}={given!r:.60}: expected {allowed}")
    return value
