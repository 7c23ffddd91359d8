"""Faults of the machine: a server that is killed while it writes, a full disk, an end while everybody listens."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

from descant.apps.server.service import DRAIN_S
from descant.apps.server.store import NAME
from tests.apps.server.conftest import serving, wait_for
from tests.apps.server.paced_engine import RATE_HZ, pcm_of

SERVER = Path(__file__).with_name("paced_server.py")


class Process:
    """A server as a process of its own."""

    def __init__(self, folder: Path, pace: float) -> None:
        words = (sys.executable, str(SERVER), "--data", str(folder), "--port", "0", "--pace", str(pace))
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        self._process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environ)
        assert self._process.stderr is not None
        address = next(line for line in self._process.stderr if "serving at" in line).split()[2]
        self.client = httpx.Client(base_url=address.rstrip("/"), timeout=30)
        self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._reader.start()

    def end(self, number: int) -> float:
        """Sends a signal, and gives the seconds until the end."""
        began = time.monotonic()
        self._process.send_signal(number)
        self._process.wait(60)
        seconds = time.monotonic() - began
        self.client.close()
        self._reader.join(10)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return seconds


def test_a_server_that_is_killed_while_it_writes_loses_no_finished_clip(tmp_path):
    finished: set[str] = set()
    jobs: list[str] = []
    for attempt in range(4):
        process = Process(tmp_path, pace=30.0)
        for seed in range(6):
            asked = {"text": f"take {attempt}", "duration_s": 1.0, "seed": seed}
            jobs.append(process.client.post("/v1/jobs", json=asked).json()["id"])

        def ready(client=process.client) -> set[str]:
            return {one["id"] for one in client.get("/v1/clips", params={"state": "ready"}).json()["items"]}

        wait_for(lambda: len(ready()) > len(finished) + attempt)  # noqa: B023
        finished |= ready()
        process.end(signal.SIGKILL)
        with sqlite3.connect(tmp_path / NAME) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            kept = {id for (id,) in db.execute("SELECT id FROM clips WHERE state = 'ready'")}
        assert finished <= kept
        assert all((tmp_path / "clips" / id[5:7] / f"{id}.flac").is_file() for id in kept)
    with serving(tmp_path, pace=50.0) as server:
        for job in jobs:
            wait_for(lambda: server.job(job)["state"] == "succeeded")  # noqa: B023
            clip = server.job(job)["clips"][0]
            assert server.client.get(clip["urls"]["stream"]).content == pcm_of(clip["seed"], [], RATE_HZ)
        assert not list((tmp_path / "parts").iterdir())


def test_a_server_that_is_asked_to_end_finishes_what_is_made_and_ends_all_streams(tmp_path):
    process = Process(tmp_path, pace=4.0)
    wait_for(lambda: process.client.get("/health/ready").status_code == 200)
    job = process.client.post("/v1/jobs", json={"duration_s": 8.0, "seed": 1, "count": 2}).json()
    heard: dict[int, bytes] = {}
    begun: list[int] = []

    def listen(number: int, path: str) -> None:
        with httpx.stream("GET", f"{process.client.base_url}{path}", timeout=60) as answer:
            begun.append(number)
            heard[number] = answer.read()

    urls = [clip["urls"]["stream"] for clip in job["clips"]] * 5 + ["/v1/events"] * 10
    threads = [threading.Thread(target=listen, args=one) for one in enumerate(urls)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(begun) == len(urls))
    wait_for(lambda: process.client.get(urls[0].removesuffix("/stream")).json()["duration_s"] > 0.5)
    ending: list[float] = []
    end = threading.Thread(target=lambda: ending.append(process.end(signal.SIGTERM)))
    end.start()
    for thread in [*threads, end]:
        thread.join(60)
    assert [heard[number] for number in range(10)] == [pcm_of(1, [], 8 * RATE_HZ), pcm_of(2, [], 8 * RATE_HZ)] * 5
    assert all(b"server.draining" in heard[number] for number in range(10, 20))
    assert ending[0] < DRAIN_S / 2


def test_a_full_disk_ends_the_clip_with_a_problem_and_the_next_one_works(tmp_path, monkeypatch):
    with serving(tmp_path, pace=20.0) as server:
        real = server.service.files.write
        monkeypatch.setattr(server.service.files, "write", _full)
        failed = server.made(duration_s=0.5)
        assert (failed["state"], failed["clips"][0]["state"]) == ("failed", "failed")
        assert failed["clips"][0]["problem"]["type"] == "/problems/storage-full"
        monkeypatch.setattr(server.service.files, "write", real)
        assert server.made(duration_s=0.5)["state"] == "succeeded"


def _full(path: Path, content: bytes) -> int:
    del content
    raise OSError(28, "No space left on device", str(path))


def test_a_folder_that_cannot_be_served_is_one_line(fast, tmp_path):
    """It was once a hundred lines of traceback around that line."""
    (tmp_path / "file").write_text("no folder")
    for folder, code, words in (
        (fast.config.folder, 2, "is in use by process"),
        (tmp_path / "file", 3, "cannot write"),
    ):
        command = (sys.executable, "-m", "descant", "serve", "--port", "0", "--model", "tiny", "--data", str(folder))
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        ended = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=120)
        assert ended.returncode == code, ended
        assert words in ended.stderr
        assert ended.stderr.count("\n") == 1
