"""SIGTERM and SIGHUP as exceptions, so that a command that is told to end removes what is unfinished first."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if name in signal.Signals.__members__)


class Terminated(KeyboardInterrupt):
    """The process was told to end. Like Ctrl-C, and unlike errors, it passes every ``except Exception``."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.signal = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """What a shell reports of a process that this signal ended: 143 for SIGTERM, 129 for SIGHUP."""
        return 128 + self.signal


@contextmanager
def termination_raises() -> Iterator[None]:
    """Inside the block these signals raise ``Terminated``; a second one ends the process at once.

    A signal that is ignored, as ``nohup`` has it, stays ignored. Only the main thread of a process receives any.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()
    handled = [number for number in SIGNALS if signal.getsignal(number) == signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        restore()
        if os.getpid() != owner:  # a worker that was forked: it ends as it would have without us
            os.kill(os.getpid(), number)
            return
        raise Terminated(number)

    def restore() -> None:
        for each in handled:
            signal.signal(each, signal.SIG_DFL)

    for number in handled:
        signal.signal(number, end)
    try:
        yield
    finally:
        restore()
