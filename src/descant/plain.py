"""Numbers and texts as Python's own types, from whatever library they come."""

from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

Number: TypeAlias = int | float | np.number | np.ndarray | Tensor
"""What ``plain`` turns into a Python number, if it has no dimensions."""


def plain(value: Any) -> Any:
    """The Python bool, int, float or str of a NumPy scalar, an array or tensor without dimensions, or an enum.

    Everything else is returned as it is.
    """
    if isinstance(value, np.generic | np.ndarray | Tensor) and value.ndim == 0 and not _has_no_value(value):
        value = value.item()
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | np.longdouble):
        return float(value)
    return str.__str__(value) if isinstance(value, str) else value


def make_plain(instance: Any) -> None:
    """Replaces every field of a frozen dataclass by its plain value; for use in its ``__post_init__``.

    The values that are stored, hashed and written to files are then the same for every number type of the caller.
    """
    for field in fields(instance):
        object.__setattr__(instance, field.name, plain(getattr(instance, field.name)))


def _has_no_value(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_meta
