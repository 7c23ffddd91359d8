"""Servers as processes of their own, for measurements."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from descant.apps.server.rows import ENDED

ROOT = Path(__file__).resolve().parents[1]
PACED = (sys.executable, str(ROOT / "tests" / "apps" / "server" / "paced_server.py"))
DESCANT = (sys.executable, "-m", "descant")
STARTER = (*DESCANT, "serve", "--no-studio", "--precision", "fp32", "--device", "cpu")


class Server:
    """A server as a process of its own."""

    def __init__(self, command: tuple[str, ...], folder: Path, **options: object) -> None:
        given = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}
        words = (*command, "--data", str(folder), "--port", "0", *given)
        self._process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environ)
        assert self._process.stderr is not None
        began = time.monotonic()
        self.url = next(line for line in self._process.stderr if "serving at" in line).split()[2].rstrip("/")
        threading.Thread(target=self._process.stderr.read, daemon=True).start()
        self.port = int(self.url.rsplit(":", 1)[1])
        self.client = httpx.Client(base_url=self.url, timeout=120)
        wait_for(lambda: self.client.get("/health/ready").status_code == 200)
        self.loading_s = time.monotonic() - began

    def submit(self, **job: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/jobs", json={"text": "a", "analyse": False, **job})
        answer.raise_for_status()
        return answer.json()

    def made(self, **job: Any) -> dict[str, Any]:
        """A job that has ended. The server is not asked for it again and again, which would cost both of them time."""
        asked = {"text": "a", "analyse": False, **job}
        answer = self.client.post("/v1/jobs", json=asked, headers={"Prefer": "wait=60"})
        answer.raise_for_status()
        return answer.json() if answer.status_code == 201 else self.finished(answer.json())

    def job(self, job: dict[str, Any]) -> dict[str, Any]:
        return self.client.get(job["urls"]["self"]).json()

    def finished(self, job: dict[str, Any]) -> dict[str, Any]:
        wait_for(lambda: self.job(job)["state"] in ENDED)
        return self.job(job)

    @property
    def memory_bytes(self) -> int:
        """Of the server's process, without its engine."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1_024  # type: ignore[index]

    @property
    def engine_pid(self) -> int:
        """The process of the engine."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    def end(self, number: int = signal.SIGTERM) -> float:
        """Sends a signal, and gives the time of the end."""
        self._process.send_signal(number)
        self._process.wait(120)
        return time.monotonic()


@contextmanager
def serving(command: tuple[str, ...] = PACED, **options: object) -> Iterator[Server]:
    """A server on a new folder."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(command, Path(folder), **options)
        try:
            yield server
        finally:
            server.end()


def wait_for(is_true: Callable[[], Any], seconds: float = 120.0) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + seconds
    while not is_true():
        if time.monotonic() > deadline:
            raise TimeoutError("it has not happened in time")
        time.sleep(0.02)
