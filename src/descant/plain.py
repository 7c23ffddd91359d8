"""Numbers and texts as Python's own types, whatever library they come from."""

from dataclasses import fields
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

Number: TypeAlias = int | float | np.number | np.ndarray | Tensor
"""What ``plain`` makes a number of, if it has no dimensions."""


def plain(value: Any) -> Any:
    """The bool, int, float or str that a NumPy scalar, an array or tensor without dimensions, or an enum stands for.

    Everything else comes back as it is.
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

    What is stored, hashed and written to files is then the same however the caller's numbers were typed.
    """
    for field in fields(instance):
        object.__setattr__(instance, field.name, plain(getattr(instance, field.name)))


def _has_no_value(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_meta
