"""The command ``descant``, in a package of its own: importing ``descant`` takes longer than starting Python does."""

import os
import signal
from types import FrameType
from typing import NoReturn

MESSAGE = b"descant: error: interrupted; no unfinished file is left\n"


def main() -> int:
    """Runs the command line; Ctrl-C while it is imported, or when it is done, ends the process without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)
    from descant.apps.cli.main import main as run

    return run()


def end_at_once(number: int, frame: FrameType | None) -> NoReturn:
    """The handler of Ctrl-C while there is nothing to be tidied up.

    An exception could be raised anywhere inside the modules that are being imported.
    """
    del frame
    try:
        os.write(2, MESSAGE)
    finally:  # also where standard error is closed
        os._exit(128 + number)
