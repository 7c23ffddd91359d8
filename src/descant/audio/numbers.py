"""Checked numeric arguments: a text, a bool or NaN is refused with a clear message."""

import sys
from typing import Any

from descant.errors import InvalidRequest
from descant.plain import plain


def checked_number(given: Any, name: str, allowed: str) -> int | float:
    """A finite number as an int or a float.

    Args:
        allowed: what is expected, for the message.

    Raises:
        InvalidRequest: it is not a finite number.
    """
    value = plain(given)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise InvalidRequest(f"{name}={given!r:.60}: expected {allowed}")
    return value
