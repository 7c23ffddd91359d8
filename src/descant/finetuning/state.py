"""How far a fine-tuning run is: its config, what was validated, and when the training ended."""

import json
import math
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
        validations: the metrics of each step that was validated, the original model's at step 0.
        steps: of the training, once it has ended.
    """

    config: dict[str, Any]
    planned: dict[str, int] = field(default_factory=dict)
    validations: dict[int, dict[str, float]] = field(default_factory=dict)
    steps: int | None = None

    @property
    def best_step(self) -> int:
        """The first step with the lowest loss on held-out music."""
        return min(sorted(self.validations), key=self._loss)

    @property
    def misses(self) -> int:
        """The number of validations since the best one."""
        return sum(step > self.best_step for step in self.validations)

    def add(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Adds a validation, which may be known already; whether it is the best so far."""
        self.validations[step] = dict(metrics)
        return self.best_step == step

    def write(self, folder: Path) -> None:
        """Writes it into the folder of the run, atomically.

        Raises:
            AudioError: it cannot be written.
        """
        write_atomically(folder / NAME, (json.dumps(asdict(self), indent=2) + "\n").encode())

    def _loss(self, step: int) -> float:
        loss = self.validations[step]["ce"]
        return math.inf if math.isnan(loss) else loss


def read_state(folder: Path) -> RunState | None:
    """The state of the run in a folder; None if there is none yet.

    Raises:
        DataError: it cannot be read.
    """
    file = folder / NAME
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        # JSON has no keys but texts.
        validations = {int(step): metrics for step, metrics in content.pop("validations").items()}
        return RunState(**content, validations=validations)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{file}: not the state of a fine-tuning run ({error}); choose another folder") from error
