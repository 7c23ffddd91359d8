"""SIGTERM and SIGHUP as exceptions, so that a command that has to end removes unfinished files first."""

import signal
from contextlib import AbstractContextManager
from typing import NoReturn

from descant.signals import TERMINATION, on_first_signal


class Terminated(KeyboardInterrupt):
    """A signal asked the process to end. Like Ctrl-C, and unlike errors, it passes every ``except Exception``."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.signal = number

    @property
    def exit_code(self) -> int:
        """The exit code that a shell reports for a process ended by this signal: 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.signal


def termination_raises() -> AbstractContextManager[None]:
    """Raises ``Terminated`` at the first of these signals within the block; a second one ends the process at once."""
    return on_first_signal(TERMINATION, _terminate)


def _terminate(number: signal.Signals) -> NoReturn:
    raise Terminated(number)
