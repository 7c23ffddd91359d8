"""Runs a server until a signal ends it."""

import asyncio
import signal
import socket
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import uvicorn
from fastapi import FastAPI

from descant.apps.server.app import create_app
from descant.apps.server.auth import is_loopback
from descant.apps.server.config import ServerConfig
from descant.apps.server.keys import KeyFile
from descant.apps.server.service import DRAIN_S, Service
from descant.errors import InvalidRequest

MAX_HEADER_BYTES = 2**14
CLOSING_S = 2
BACKLOG = 512


def run(config: ServerConfig, *, is_opened: bool, note: Callable[[str], None]) -> None:
    """Serves until SIGTERM or SIGINT; a second one ends at once.

    Raises:
        CheckpointError: the model cannot be loaded, or the engine crashes again and again.
        InvalidRequest: others could reach it without a key, or another server uses the folder.
        DataError: the folder cannot be used.
    """
    check_reach(config)
    asyncio.run(_serve(config, is_opened, note))


def check_reach(config: ServerConfig) -> None:
    """Refuses to serve others without a key.

    Raises:
        InvalidRequest: the address is not only this machine's, and there is no key.
    """
    if not is_loopback(config.host) and KeyFile(config.keys).is_empty():
        raise InvalidRequest(
            f"--host {config.host}: others could reach it without a key; make one first: descant serve keys add NAME"
        )


class _Server(uvicorn.Server):
    """uvicorn's, whose signals are handled here."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(config: ServerConfig, is_opened: bool, note: Callable[[str], None]) -> None:
    app = create_app(config)
    listening = bound(config.host, config.port)
    # Entered here: uvicorn would print the traceback of its error and exit, also where the folder is just in use.
    with closing(listening):
        async with app.router.lifespan_context(app):
            await _serve_app(app, config, listening, is_opened, note)


async def _serve_app(
    app: FastAPI, config: ServerConfig, listening: socket.socket, is_opened: bool, note: Callable[[str], None]
) -> None:
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            timeout_graceful_shutdown=CLOSING_S,
        )
    )
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()

    def on_signal() -> None:
        if stopping.is_set():
            server.force_exit = True
        stopping.set()

    serving = asyncio.create_task(server.serve([listening]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.02)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    if serving.done():
        await serving
        return
    shown = f"[{config.host}]" if ":" in config.host else config.host
    address = f"http://{shown}:{listening.getsockname()[1]}/"
    note(f"serving at {address} (Ctrl-C stops)")
    if is_opened:
        webbrowser.open(address)
    service: Service = app.state.service
    waiting = {asyncio.create_task(event.wait()) for event in (stopping, service.failed)}
    await asyncio.wait({serving, *waiting}, return_when=asyncio.FIRST_COMPLETED)
    if service.failure is not None:
        server.should_exit = True
    elif not serving.done():
        note("shutting down: what is being made is finished first; Ctrl-C again ends at once")
        draining = asyncio.create_task(service.production.drain(DRAIN_S))
        await asyncio.wait({draining, serving}, return_when=asyncio.FIRST_COMPLETED)
        service.hub.close()
        server.should_exit = True
    await serving
    for task in waiting:
        task.cancel()
    if service.failure is not None:
        raise service.failure


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        InvalidRequest: that is not possible there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise InvalidRequest(f"--host {host} --port {port}: cannot listen there ({error.strerror})") from error
    # Connections inherit it. asyncio sets it only where a socket's protocol is named; without it the second part of an
    # answer waits until the client has acknowledged the first, 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening
