"""What an engine does, wherever it runs: it loads the model and works for the server that its messages come from."""

import queue
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from descant.apps.server.engine.messages import Message

Inbox: TypeAlias = "queue.Queue[Message | None]"
"""Messages from the server; None at the end."""
Send: TypeAlias = Callable[[Message], None]
"""Sends a message to the server, from any thread."""
Engine: TypeAlias = Callable[[Inbox, Send], None]
"""Sends ``ready`` once its model is loaded, and works until the end; or sends ``unusable`` and returns."""


def run_engine(inbox: Inbox, send: Send, *, model: str, device: str, precision: str, adapters: Path) -> None:
    """Loads the model and works until the server ends it."""
    from descant.api import load
    from descant.apps.server.engine.description import description_of
    from descant.apps.server.engine.worker import Worker, warm_up
    from descant.errors import DescantError

    try:
        loaded = load(model, device=device, precision=precision)
    except DescantError as error:
        send(Message("unusable", fields={"detail": str(error)}))
        return
    warm_up(loaded)
    send(Message("ready", fields=description_of(loaded)))
    Worker(loaded, adapters, inbox, send).run()
