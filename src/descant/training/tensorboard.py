"""A run's values for TensorBoard: the only file that imports its writer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from descant.errors import MissingExtra


class TensorBoard:
    """Event files in a folder; values are named ``ce/train``, ``ce/validation`` and so on.

    Raises:
        MissingExtra: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingExtra(
                'trainer.tensorboard=true needs tensorboard: pip install "descant[tensorboard]"'
            ) from error
        self._open = lambda step: SummaryWriter(str(folder), purge_step=step)
        self._writer: Any = None

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Adds the values of a step. Those of a run that was resumed replace what came later before."""
        if self._writer is None:
            self._writer = self._open(step)
        for name, value in values.items():
            self._writer.add_scalar(f"{name}/{kind}", value, step)
        self._writer.flush()

    def close(self) -> None:
        """Ends the writer's thread."""
        if self._writer is not None:
            self._writer.close()
