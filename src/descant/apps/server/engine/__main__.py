"""The program of the engine's process: ``python -m descant.apps.server.engine MODEL DEVICE PRECISION ADAPTERS``."""

import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import BinaryIO

from descant.apps.server.engine.messages import Message, read_message
from descant.apps.server.engine.program import Inbox, Send, run_engine


def main(model: str, device: str, precision: str, adapters: str) -> None:
    """Loads the model and works until the server closes the pipe."""
    # On Windows Ctrl-C reaches this process, too; the server decides what happens then, and closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    inbox: Inbox = queue.Queue()
    send = sender(own_stdout())
    threading.Thread(target=receive, args=(inbox,), daemon=True).start()
    run_engine(inbox, send, model=model, device=device, precision=precision, adapters=Path(adapters))


def own_stdout() -> BinaryIO:
    """Standard output for messages alone: whatever else is printed goes to standard error."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return pipe  # type: ignore[return-value]


def sender(pipe: BinaryIO) -> Send:
    """Sends messages whole, from any thread. If nobody reads them any more, the process ends."""
    lock = threading.Lock()

    def send(message: Message) -> None:
        content = memoryview(message.to_bytes())
        with lock:
            try:
                while content:
                    content = content[pipe.write(content) :]
            except BrokenPipeError:
                os._exit(0)

    return send


def receive(inbox: Inbox) -> None:
    """Puts what the server sends into a queue, and None at the end."""
    # Unbuffered: Python waits at its end for the lock of a buffer that a thread reads into.
    with open(0, "rb", buffering=0, closefd=False) as pipe:
        while (message := read_message(pipe)) is not None:  # type: ignore[arg-type]
            inbox.put(message)
    inbox.put(None)


if __name__ == "__main__":
    main(*sys.argv[1:])
    sys.stderr.flush()
    # All is sent. Freeing what torch has loaded takes a second, for which the server would have to wait.
    os._exit(0)
