"""Servers on the test engine, and a client that speaks to them."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import uvicorn

from descant.apps.server.app import create_app
from descant.apps.server.config import ServerConfig
from tests.apps.server.paced_server import paced_config

STARTING_S = 60.0


class Running:
    """A server in a thread, and a client."""

    def __init__(self, config: ServerConfig, token: str | None = None) -> None:
        self.config = config
        self.app = create_app(config)
        self._server = uvicorn.Server(uvicorn.Config(self.app, host=config.host, port=0, log_level="warning"))
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        wait_for(lambda: self._server.started or not self._thread.is_alive())
        self.port = self._server.servers[0].sockets[0].getsockname()[1]
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=30)

    def wait_ready(self, seconds: float = STARTING_S) -> "Running":
        def is_ready() -> bool:
            if self.service.failure is not None:
                raise self.service.failure
            return self.client.get("/health/ready").status_code == 200

        wait_for(is_ready, seconds)
        return self

    @property
    def service(self) -> Any:
        return self.app.state.service

    def submit(self, **fields: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/jobs", json={"text": "hello", "duration_s": 1.0, **fields})
        assert answer.status_code == 202, answer.text
        return answer.json()

    def job(self, job: dict[str, Any] | str) -> dict[str, Any]:
        return self.client.get(f"/v1/jobs/{job if isinstance(job, str) else job['id']}").json()

    def made(self, **fields: Any) -> dict[str, Any]:
        """A job that has ended."""
        job = self.submit(**fields)
        wait_for(lambda: self.job(job)["state"] not in ("queued", "running"))
        return self.job(job)

    def clip(self, **fields: Any) -> dict[str, Any]:
        """A finished clip."""
        return self.made(**fields)["clips"][0]

    def stop(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()


def wait_for(is_true: Callable[[], Any], seconds: float = STARTING_S) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < deadline, "it has not happened in time"
        time.sleep(0.01)


@contextmanager
def serving(
    folder: Path, token: str | None = None, starting_s: float = STARTING_S, **settings: Any
) -> Iterator[Running]:
    """A server on a folder, whose engine is ready."""
    running = Running(paced_config(folder, **settings), token)
    try:
        yield running.wait_ready(starting_s) if token is None else running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that plays fifty times as fast as music is; for tests that leave it usable."""
    with serving(tmp_path_factory.mktemp("fast"), pace=50.0) as running:
        yield running


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The events in a stream of Server-Sent Events."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in lines:
            found.append((lines["event"], json.loads(lines["data"])))
    return found


def stream_of(client: httpx.Client, clip: dict[str, Any], **query: Any) -> bytes:
    """The samples of a clip, as they are streamed."""
    return client.get(clip["urls"]["stream"], params=query).content


def wav(seconds: float = 1.0, rate_hz: int = 22_050, channels: int = 1) -> bytes:
    """A file with a tone."""
    file = io.BytesIO()
    moments = np.arange(round(seconds * rate_hz)) / rate_hz
    soundfile.write(file, np.stack([0.3 * np.sin(2_000 * moments)] * channels, axis=1), rate_hz, format="WAV")
    return file.getvalue()


def send(server: Running, content: bytes, name: str = "hum.wav", **headers: str) -> httpx.Response:
    """Sends a file as an upload."""
    return server.client.post("/v1/uploads", files={"file": (name, content)}, headers=headers)
