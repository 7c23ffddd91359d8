"""Signals as exceptions, so that a command that has to end removes unfinished files first."""

import signal
import threading
from contextlib import AbstractContextManager
from types import FrameType
from typing import NoReturn

from descant.signals import TERMINATION, comes_again_after_import, on_first_signal
from descant_command import end_at_once


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


class Interruption:
    """Within its block Ctrl-C is also noted, unless it is ignored or has another handler.

    It raises ``KeyboardInterrupt`` as ever, but never inside an import. A library may turn that into an error of its
    own; only the signal tells that this is not its fault.
    """

    has_come = False

    def __enter__(self) -> None:
        self._earlier = signal.getsignal(signal.SIGINT)
        self._is_ours = threading.current_thread() is threading.main_thread() and self._earlier in (
            signal.default_int_handler,
            end_at_once,
        )
        if self._is_ours:
            signal.signal(signal.SIGINT, self._note)

    def __exit__(self, *error: object) -> None:
        if self._is_ours:
            signal.signal(signal.SIGINT, self._earlier)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.has_come = True
        if not comes_again_after_import(number, frame):
            signal.default_int_handler(number, frame)
