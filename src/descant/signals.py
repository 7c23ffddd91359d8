"""Signals that ask a process to end, handled for the length of a block by one set of rules."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

TERMINATION = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Windows has no SIGHUP."""

INTERRUPTED = 130
"""The exit code that a shell reports for a process ended by Ctrl-C."""


IMPORT = "<frozen importlib._bootstrap>"
"""The file that frames of an import name."""

AFTER_IMPORT_S = 0.02
"""How long a signal that came during an import waits before it comes again."""


def comes_again_after_import(number: int, frame: FrameType | None) -> bool:
    """Whether this frame is inside an import; then the signal is sent once more in a moment.

    An exception that a handler raises while C++ code is initialised, as in PyTorch, aborts the process. A second signal
    does not wait for the import: it ends the process at once. At the end of a block of ``on_first_signal`` the signal
    comes at once, so that none is lost.
    """
    while frame is not None and frame.f_code.co_filename != IMPORT:
        frame = frame.f_back
    if frame is None:
        return False
    if not _waiting:
        _waiting.append((os.getpid(), number))
        again = threading.Timer(AFTER_IMPORT_S, _send_waiting)
        again.daemon = True
        again.start()
    else:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return True


_waiting: deque[tuple[int, int]] = deque()
"""The process and the number of a signal that came during an import, until it comes again."""


def _send_waiting() -> None:
    """Sends the signal that waits, unless it has come again already or is that of the process that forked this one."""
    with suppress(IndexError):
        process, number = _waiting.pop()
        if process == os.getpid():
            os.kill(process, number)


@contextmanager
def on_first_signal(signals: Sequence[signal.Signals], act: Callable[[signal.Signals], None]) -> Iterator[None]:
    """Calls ``act`` with the first of these signals to arrive within the block.

    The earlier handlers are restored before that call and at the end of the block, so a second signal ends the process
    at once. An ignored signal stays ignored: a command under ``nohup`` survives its terminal. A forked worker reacts as
    if there were no block. A signal that comes during an import is handled when that is over. Only the main thread
    receives signals; in any other thread the block changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()
    earlier: dict[signal.Signals, signal._HANDLER] = {}

    def restore() -> None:
        while earlier:
            signal.signal(*earlier.popitem())

    def handle(number: int, frame: FrameType | None) -> None:
        if comes_again_after_import(number, frame):
            return
        restore()
        if os.getpid() == owner:
            act(signal.Signals(number))
        else:
            os.kill(os.getpid(), number)

    try:
        for number in signals:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # None: a handler that is not Python's
                earlier[number] = signal.signal(number, handle)
        yield
        _send_waiting()
    finally:
        restore()


@contextmanager
def interruption_delayed() -> Iterator[None]:
    """A Ctrl-C within the block is handled at its end, and processes started within it never receive one.

    A terminal sends the signal to its whole group. A process that has just been started would show a traceback of what
    it imports; it inherits a mask instead that blocks the signal from its first instruction on, and its parent ends it.
    Windows has no such mask: there the process has to ignore the signal itself, as soon as it can. A second Ctrl-C
    within the block may be handled at once.
    """
    came: list[signal.Signals] = []
    has_mask = hasattr(signal, "pthread_sigmask")
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if has_mask else set()
    try:
        # The mask is of this thread; another one may receive the signal, and Python then handles it in the main thread.
        with on_first_signal((signal.SIGINT,), came.append):
            yield
    finally:
        if came:
            signal.raise_signal(signal.SIGINT)
        if has_mask:
            signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
