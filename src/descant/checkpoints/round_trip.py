"""Whether a foreign layout can express a config: what is read back must equal what was written."""

import dataclasses
from typing import Any

from descant.errors import CheckpointError


def refuse_differences(ours: Any, again: Any, layout: str, path: str = "") -> None:
    """Compares a config with what would be read back from a layout.

    Raises:
        CheckpointError: a field differs; the message has the path to it.
    """
    for field in dataclasses.fields(ours):
        value, stored = getattr(ours, field.name), getattr(again, field.name)
        if value == stored:
            continue
        if dataclasses.is_dataclass(value) and type(value) is type(stored):
            refuse_differences(value, stored, layout, f"{path}{field.name}.")
        raise CheckpointError(
            f"{path}{field.name}={value!r:.80} has no place in {layout}'s layout, where it would be {stored!r:.80}"
        )
