"""Checks of single values of a request; every message begins with the name of the field."""

import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from descant.adapters import Adapter
from descant.errors import InvalidRequest
from descant.plain import plain
from descant.tempo_key import FASTEST_BPM, OPEN, SLOWEST_BPM, parse_key, parse_tempo_key, stated_tempo_key

MAX_ADAPTERS, MAX_STRENGTH = 8, 10.0
INTEGER_DTYPES = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)


def check_number(name: str, value: Any) -> None:
    """Refuses what is not a finite int or float."""
    # Compared, not tested with isfinite(), which overflows for integers that no float can hold.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= sys.float_info.max:
        raise InvalidRequest(f"{name}={value!r:.60}: expected a finite number")


def check_integer(name: str, value: Any, low: int | None = None, high: int | None = None) -> None:
    """Refuses what is not an int, or lies outside ``low`` to ``high``, both included; a range needs both."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(f"{name}={value!r:.60}: expected a whole number")
    if low is not None and high is not None and not low <= value <= high:
        raise InvalidRequest(f"{name}={value}: must lie between {low} and {high}")


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Refuses what is not one of the allowed words."""
    if value not in allowed:
        raise InvalidRequest(f"{name}={value!r:.60}: allowed are {', '.join(allowed)}")


def check_string(name: str, value: Any) -> None:
    """Refuses what is neither None nor a valid Unicode string without NUL."""
    if value is None:
        return
    if not isinstance(value, str):
        raise InvalidRequest(f"{name}={value!r:.60}: expected one string or None; for several, make several requests")
    if "\0" in value:
        raise InvalidRequest(f"{name}: contains a NUL character; remove it")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise InvalidRequest(f"{name}: contains half of a surrogate pair, which is not valid Unicode; re-encode it")


def check_tempo_key(text: str | None, tempo: Any, key: Any) -> None:
    """Refuses a tempo that is neither beats per minute nor auto or none, what is not the name of a key, and a text that
    contradicts them."""
    if isinstance(tempo, str) and tempo not in OPEN:
        raise InvalidRequest(f"tempo={tempo!r:.60}: expected beats per minute, auto or none")
    if not isinstance(tempo, str):
        check_number("tempo", tempo)
        if not SLOWEST_BPM <= tempo <= FASTEST_BPM:
            raise InvalidRequest(f"tempo={tempo:g}: must lie between {SLOWEST_BPM:g} and {FASTEST_BPM:g} bpm")
    if not isinstance(key, str) or (key not in OPEN and parse_key(key) is None):
        raise InvalidRequest(f"key={key!r:.60}: expected a key such as 'F# minor', 'Bb major' or 'Am', auto or none")
    in_text, stated = parse_tempo_key(text), stated_tempo_key(text, tempo, key)
    if in_text.bpm not in (None, stated.bpm):
        raise InvalidRequest(f"tempo={tempo:g}: the text states {in_text.bpm:g} bpm; leave one of them out")
    if in_text.key not in (None, stated.key) or in_text.is_minor not in (None, stated.is_minor):
        other = in_text.key_name or f"a {'minor' if in_text.is_minor else 'major'} key"
        raise InvalidRequest(f"key={key!r}: the text states {other}; leave one of them out")


def as_pairs(name: str, points: Any) -> tuple[tuple[Any, Any], ...]:
    """The points as pairs of plain values, from any ordered iterable of pairs: lists, arrays, a ``zip``."""
    try:
        return tuple((plain(first), plain(second)) for first, second in map(_ordered, _ordered(points)))
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"{name}={points!r:.60}: expected pairs, each with its second first") from error


def check_rising(name: str, seconds: Iterable[float]) -> None:
    """Refuses seconds that do not rise strictly from above 0."""
    for before, after in pairwise([0.0, *seconds]):
        if not before < after:
            raise InvalidRequest(
                f"{name}: seconds must rise, and the first must be above 0; second {after:g} comes after {before:g}"
            )


def as_integer_matrix(name: str, values: Any, shape: str) -> Tensor | None:
    """A copy as a tensor, so that later changes by the caller do not reach the request; None stays None."""
    if values is None:
        return None
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        values = torch.from_numpy(values.astype(np.int64))
    if not isinstance(values, Tensor) or values.dtype not in INTEGER_DTYPES or values.ndim != 2:
        raise InvalidRequest(f"{name}={values!r:.60}: expected a tensor {shape} of whole numbers, or None")
    if 0 in values.shape:
        raise InvalidRequest(f"{name}: the shape is {tuple(values.shape)}; give at least one frame, or None")
    return values.detach().clone()


def _ordered(value: Any) -> Any:
    """The value, unless it has no order or is a string, whose items are not meant."""
    if isinstance(value, str | bytes | Mapping | Set):
        raise TypeError
    return value


def with_strengths(adapters: Any) -> tuple[tuple[Adapter, float], ...]:
    """Adapters with their strengths, from one or several, each alone or in a pair.

    Raises:
        InvalidRequest: something else, too many, or a strength outside the limits.
    """
    several = (adapters,) if isinstance(adapters, Adapter) else adapters
    if not isinstance(several, list | tuple):
        raise InvalidRequest(f"adapters={adapters!r:.60}: expected adapters, or pairs (adapter, strength)")
    pairs = [(one, 1.0) if isinstance(one, Adapter) else one for one in several]
    for pair in pairs:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], Adapter)):
            raise InvalidRequest(
                f"adapters={pair!r:.60}: expected an adapter from MusicGen.load_adapter, or a pair (adapter, strength)"
            )
        check_number("adapters: strength", pair[1])
        if abs(pair[1]) > MAX_STRENGTH:
            raise InvalidRequest(f"adapters: strength {pair[1]:g}: allowed are -{MAX_STRENGTH:g} to {MAX_STRENGTH:g}")
    if len(pairs) > MAX_ADAPTERS:
        raise InvalidRequest(f"adapters: {len(pairs)}; at most {MAX_ADAPTERS} are added to one request")
    return tuple((adapter, float(strength)) for adapter, strength in pairs)
