"""How far a fine-tuning run is: its config, the losses at the start and at the best step, and when it ends."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from descant.atomic import write_atomically
from descant.errors import DataError

NAME = "state.json"


@dataclass
class RunState:
    """What ``state.json`` in the folder of a run holds.

    Args:
        config: of the run, as plain data.
        planned: the number of steps and of those between validations; empty before they are planned.
        first, best: what was validated before the first step, and at ``best_step``.
        misses: validations since then.
    """

    config: dict[str, Any]
    planned: dict[str, int] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    best: dict[str, float] = field(default_factory=dict)
    best_step: int = 0
    misses: int = 0

    def add(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Adds a validation; whether it is the best so far."""
        if step == 0:
            self.first, self.best = dict(metrics), {}
        if not self.best or metrics["ce"] < self.best["ce"]:
            self.best, self.best_step, self.misses = dict(metrics), step, 0
            return True
        self.misses += 1
        return False

    def write(self, folder: Path) -> None:
        """Writes it into the folder of the run, atomically.

        Raises:
            AudioError: it cannot be written.
        """
        write_atomically(folder / NAME, (json.dumps(asdict(self), indent=2) + "\n").encode())


def read_state(folder: Path) -> RunState | None:
    """The state of the run in a folder; None if there is none yet.

    Raises:
        DataError: it cannot be read.
    """
    file = folder / NAME
    if not file.exists():
        return None
    try:
        return RunState(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(f"{file}: not the state of a fine-tuning run ({error}); choose another folder") from error
