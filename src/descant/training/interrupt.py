"""Ctrl-C, SIGTERM and SIGHUP as a request to stop training after the current step."""

import signal
from contextlib import ExitStack

from descant.signals import TERMINATION, on_first_signal


class StopSignals(ExitStack):
    """Within its block, ``asked`` becomes True at the first signal to end; a second one ends the process at once."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = False

    def __enter__(self) -> "StopSignals":
        self.enter_context(on_first_signal((signal.SIGINT, *TERMINATION), self._ask))
        return self

    def _ask(self, number: signal.Signals) -> None:
        del number
        self.asked = True
