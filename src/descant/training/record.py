"""What a run leaves to read: its log, the page made from it, and TensorBoard's files if they are asked for."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from descant import processes
from descant.training.logs import RunLog, say
from descant.training.run_folder import LOG_NAME, TENSORBOARD
from descant.training.run_page import write_run_page
from descant.training.tensorboard import TensorBoard

PAGE_EVERY_S = 60.0
"""How old the page of a run becomes between validations; more where writing it takes longer than 0.6 s."""


class RunRecord:
    """Writes the values of a run into its folder; of several processes only the first one writes.

    Args:
        left_out: the clips found so far that cannot be used, each with the reason.
        has_tensorboard: also writes TensorBoard's files.

    Raises:
        MissingExtra: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, left_out: Callable[[], Mapping[str, str]], has_tensorboard: bool) -> None:
        self.folder = folder
        self.log = RunLog(folder / LOG_NAME)
        self._left_out = left_out
        self._board = TensorBoard(folder / TENSORBOARD) if has_tensorboard else None
        self._page_due_s = 0.0

    def write(self, step: int, kind: str, values: Mapping[str, float]) -> None:
        """Adds the values of a step, "train" or "validation", and writes the page after every validation.

        Raises:
            CheckpointError: the log cannot be written.
        """
        if not processes.is_first():
            return
        self.log.write(step, kind, values)
        if self._board is not None:
            self._board.write(step, kind, values)
        if kind == "validation" or time.monotonic() > self._page_due_s:
            self.write_page(step)

    def write_page(self, step: int) -> None:
        """Names in the log what was left out, and writes the page of the run.

        Raises:
            CheckpointError: the log cannot be written.
        """
        if not processes.is_first():
            return
        began_s = time.monotonic()
        # A copy: batches are read in another thread, which may find another clip.
        self.log.leave_out(step, dict(self._left_out()))
        try:
            write_run_page(self.folder)
        except OSError as error:
            # A run does not end for a page that can be made again from the log.
            say(f"the page of the run was not written: {error}")
        ended_s = time.monotonic()
        self._page_due_s = ended_s + max(PAGE_EVERY_S, 100 * (ended_s - began_s))

    def validated(self, name: str) -> dict[int, float]:
        """The value of that name at each step that was validated."""
        values = {line["step"]: line.get(name) for line in self.log.lines("validation")}
        return {step: value for step, value in values.items() if value is not None}

    def close(self, step: int) -> None:
        """Writes the page of a run that ends here."""
        self.write_page(step)
        if self._board is not None:
            self._board.close()
