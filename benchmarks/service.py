"""Measures what `descant serve` promises under load, and prints one JSON object for each measurement.

::

    python -m benchmarks.service streams queue stop kills worker search
    python -m benchmarks.service starter overhead together

The first six use the test engine, which plays a known signal at a chosen pace; the others use the starter and a larger
model, alone on the machine. All of it happens on the loopback address.
"""

import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from benchmarks.named import take_named
from benchmarks.service_process import DESCANT, PACED, STARTER, Server, serving, wait_for
from descant.apps.server import rows
from descant.apps.server.ids import new_id, now
from descant.apps.server.store import NAME, Store
from descant.checkpoints.native import save_model
from descant.studies.speed.decoding import PROMPT
from descant.studies.speed.untrained import untrained
from tests.apps.server.paced_engine import RATE_HZ, pcm_of

MIB = 2**20


def streams(num_readers: int = 50, seconds: float = 60.0) -> dict[str, Any]:
    """Memory of the server while half of its listeners read and half have stopped."""
    with serving(pace=1.0) as server:
        before = server.memory_bytes
        job = server.submit(duration_s=seconds + 30, count=8, seed=1)
        wait_for(lambda: server.job(job)["clips"][7]["duration_s"] > 1)
        made = server.memory_bytes
        until = time.monotonic() + seconds + 8
        heard: list[int] = []
        sockets: list[socket.socket] = []

        def read(path: str) -> None:
            with httpx.stream("GET", server.url + path, timeout=30) as answer:
                size = 0
                for block in answer.iter_raw():
                    size += len(block)
                    if time.monotonic() > until:
                        break
                heard.append(size)

        urls = [job["clips"][place % 8]["urls"]["stream"] for place in range(num_readers)]
        threads = [threading.Thread(target=read, args=(url,)) for url in urls[::2]]
        for thread in threads:
            thread.start()
        for url in urls[1::2]:
            stalled = socket.create_connection(("127.0.0.1", server.port))
            stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            stalled.sendall(f"GET {url} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            sockets.append(stalled)
        time.sleep(8)
        warm = server.memory_bytes
        for thread in threads:
            thread.join()
        after = server.memory_bytes
        for one in sockets:
            one.close()
        server.client.post(job["urls"]["cancel"])
    return {
        "readers": num_readers,
        "seconds": seconds,
        "mib_before": before / MIB,
        "mib_warm": warm / MIB,
        "mib_after": after / MIB,
        "growth_percent": 100 * (after - warm) / warm,
        "mib_per_reader": (after - made) / MIB / num_readers,
        "fewest_seconds_heard": min(heard) / 2 / RATE_HZ,
    }


def queue(num_requests: int = 200, num_clients: int = 20) -> dict[str, Any]:
    """Requests while the queue is full."""
    with serving(pace=0.2) as server:
        accepted = [server.submit(text="[pace 0.2]", duration_s=6.0) for _ in range(8)]
        wait_for(lambda: all(server.job(job)["state"] == "running" for job in accepted))
        accepted += [server.submit(text="[pace 50]", duration_s=1.0) for _ in range(16)]

        def ask(client: HTTPConnection) -> list[tuple[float, int, bool]]:
            answers = []
            for _ in range(num_requests // num_clients):
                began = time.perf_counter()
                client.request("POST", "/v1/jobs", b'{"text": "a"}', {"Content-Type": "application/json"})
                answer = client.getresponse()
                answer.read()
                seconds = time.perf_counter() - began
                answers.append((seconds, answer.status, int(answer.headers.get("Retry-After", 0)) >= 1))
            return answers

        # Not httpx, which takes longer than the server.
        clients = [HTTPConnection("127.0.0.1", server.port) for _ in range(num_clients)]
        for client in clients:
            client.connect()
        with ThreadPoolExecutor(num_clients) as pool:
            answers = sorted(answer for given in pool.map(ask, clients) for answer in given)
        for client in clients:
            client.close()
        states = [server.finished(job)["state"] for job in accepted]
    milliseconds = [1_000 * answer[0] for answer in answers]
    return {
        "requests": len(answers),
        "refused_with_429": sum(answer[1] == 429 for answer in answers),
        "with_retry_after": sum(answer[2] for answer in answers),
        "median_ms": statistics.median(milliseconds),
        "p99_ms": milliseconds[round(0.99 * len(milliseconds)) - 1],
        "accepted": len(states),
        "accepted_and_made": states.count("succeeded"),
    }


def stop() -> dict[str, Any]:
    """SIGTERM while 20 streams and 20 streams of events are open."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(PACED, Path(folder), pace=1.0)
        job = server.submit(duration_s=8.0, count=4, seed=1)
        begun: list[int] = []
        heard: dict[int, tuple[bytes, float]] = {}

        def listen(place: int, url: str) -> None:
            with httpx.stream("GET", server.url + url, timeout=60) as answer:
                begun.append(place)
                heard[place] = answer.read(), time.monotonic()

        urls = [clip["urls"]["stream"] for clip in job["clips"]] * 5 + ["/v1/events"] * 20
        threads = [threading.Thread(target=listen, args=one) for one in enumerate(urls)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(begun) == len(urls))
        ended: list[float] = []
        ending = threading.Thread(target=lambda: ended.append(server.end()))
        ending.start()
        refusals = []
        time.sleep(0.5)
        for _ in range(20):
            began = time.perf_counter()
            answer = server.client.post("/v1/jobs", json={"text": "a"})
            refusals.append((1_000 * (time.perf_counter() - began), answer.status_code))
        server.client.close()
        for thread in (*threads, ending):
            thread.join()
    last = max(heard[place][1] for place in range(20))
    return {
        "streams_complete": sum(heard[place][0] == pcm_of(1 + place % 4, [], 8 * RATE_HZ) for place in range(20)),
        "event_streams_ended": len(heard) - 20,
        "exit_s_after_the_last_job": ended[0] - last,
        "new_jobs_refused_with_503": sum(status == 503 for _, status in refusals),
        "slowest_refusal_ms": max(refusals)[0],
    }


def ready_clips(server: Server) -> set[str]:
    """The finished clips of a server that has at most 200."""
    listed = server.client.get("/v1/clips", params={"state": "ready", "limit": 200}).json()
    return {one["id"] for one in listed["items"]}


def kills(times: int = 10) -> dict[str, Any]:
    """The server is killed again and again while it writes."""
    kept: set[str] = set()
    jobs: list[dict[str, Any]] = []
    sound = missing = lost = 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(times):
            server = Server(PACED, Path(folder), pace=30.0)
            jobs += [server.submit(duration_s=1.0, seed=len(jobs)) for _ in range(6)]
            number = len(kept)
            wait_for(lambda s=server, n=number: len(ready_clips(s)) > n)
            ready = ready_clips(server)
            server.end(signal.SIGKILL)
            with sqlite3.connect(Path(folder) / NAME) as db:
                sound += db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                kept = {id for (id,) in db.execute("SELECT id FROM clips WHERE state = 'ready'")}
            lost += len(ready - kept)
            missing += sum(not (Path(folder) / "clips" / id[5:7] / f"{id}.flac").is_file() for id in kept)
        server = Server(PACED, Path(folder), pace=50.0)
        clips = [server.finished(job)["clips"][0] for job in jobs]
        equal = sum(
            server.client.get(clip["urls"]["stream"]).content == pcm_of(clip["seed"], [], RATE_HZ) for clip in clips
        )
        server.end()
    return {
        "kills": times,
        "databases_sound": sound,
        "finished_clips_lost": lost,
        "rows_without_file": missing,
        "jobs": len(jobs),
        "jobs_made_bit_equal": equal,
    }


def worker(times: int = 5, command: tuple[str, ...] = PACED, duration_s: float = 6.0, **options: Any) -> dict[str, Any]:
    """The engine is killed in the middle of a stream."""
    gaps, loading, killed, equal = [], 0.0, 0, 0
    for seed in range(times):
        with serving(command, **options) as server:
            loading = max(loading, server.loading_s)
            job = server.submit(text="warm lo-fi piano", duration_s=duration_s, seed=seed)
            blocks, at = [], []
            is_killed = False
            with httpx.stream("GET", server.url + job["clips"][0]["urls"]["stream"], timeout=120) as answer:
                for block in answer.iter_raw():
                    blocks.append(block)
                    at.append(time.monotonic())
                    if not is_killed and sum(map(len, blocks)) > RATE_HZ * duration_s / 2:
                        is_killed = True
                        os.kill(server.engine_pid, signal.SIGKILL)
            gaps.append(max(after - before for before, after in pairwise(at)))
            ended = server.finished(job)
            again = server.finished(server.submit(text="warm lo-fi piano", duration_s=duration_s, seed=seed))
            stored, undisturbed = (
                server.client.get(one["clips"][0]["urls"]["stream"]).content for one in (ended, again)
            )
            killed += ended["attempt"] == 2
            equal += b"".join(blocks) == stored == undisturbed
    return {
        "jobs": times,
        "killed_while_made": killed,
        "bit_equal": equal,
        "longest_pause_s": max(gaps),
        "loading_s": loading,
    }


def starter() -> dict[str, Any]:
    """As ``worker``, with the starter."""
    return worker(1, STARTER, 8.0)


def search(num_clips: int = 10_000) -> dict[str, Any]:
    """Searches in a library of many clips."""
    words = ("warm", "lo-fi", "piano", "techno", "rainy", "jazz", "brass", "slow", "fast", "strings", "8-bit", "drums")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))

        def fill(db: sqlite3.Connection) -> None:
            for number in range(num_clips):
                text = f"{words[number % 12]} {words[number // 12 % 12]} {words[number // 144 % 12]} take {number}"
                values = {"id": new_id("clip"), "owner": "local", "place": 0, "state": "ready", "request": "{}"}
                values |= {"text": text, "seed": number, "model": "paced", "asked_s": 1.0, "num_samples": RATE_HZ}
                values |= {"sample_rate_hz": RATE_HZ, "channels": 1, "tempo_bpm": 60 + number % 120}
                values |= {"favourite": number % 7 == 0, "rating": number % 6 or None, "tags": json.dumps([text[:4]])}
                clip = rows.insert(db, "clips", {**values, "created_at": now(), "finished_at": now()})
                rows.index_words(db, db.execute("SELECT * FROM clips WHERE number = ?", (clip,)).fetchone())

        store.write_now(fill)
        store.close()
        server = Server(PACED, Path(folder))
        seconds: dict[str, float] = {}
        for query in (
            {}, {"q": "piano"}, {"q": "pi"}, {"q": "warm piano"}, {"q": "t"}, {"q": "nothing"}, {"favourite": True},
            {"tag": "warm"}, {"tempo_min": 90, "tempo_max": 91}, {"sort": "rating"}, {"sort": "duration", "q": "jazz"},
        ):  # fmt: skip
            times = []
            for _ in range(10):
                began = time.perf_counter()
                server.client.get("/v1/clips", params=query).raise_for_status()
                times.append(time.perf_counter() - began)
            seconds[json.dumps(query)] = max(times)
        server.end()
    slowest = max(seconds, key=lambda name: seconds[name])
    return {"clips": num_clips, "slowest_ms": 1_000 * seconds[slowest], "slowest_query": slowest}


def overhead(rounds: int = 3, duration_s: float = 8.0) -> dict[str, Any]:
    """The time of the service beside that of ``descant generate``, and of eight jobs beside that of one."""
    alone, served, eight = [], [], 0.0
    with serving(STARTER) as server, tempfile.TemporaryDirectory() as folder:
        for seed in range(rounds):
            words = ("generate", "warm lo-fi piano", "-d", str(duration_s), "--seed", str(seed), "--json", "-o")
            command = (*DESCANT, *words, f"{folder}/a.wav", "--precision", "fp32", "--device", "cpu")
            made = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True)
            alone.append(json.loads(made.stdout)["seconds_taken"])
            began = time.monotonic()
            server.made(text="warm lo-fi piano", duration_s=duration_s, seed=seed)
            served.append(time.monotonic() - began)
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            asked = {"text": "warm lo-fi piano", "duration_s": duration_s}
            list(pool.map(lambda seed: server.made(**asked, seed=seed), range(10, 18)))
        eight = time.monotonic() - began
    one = statistics.median(served)
    return {
        "generate_s": alone,
        "service_s": served,
        "overhead_percent": 100 * (one / statistics.median(alone) - 1),
        "eight_jobs_s": eight,
        "eight_against_one": 8 * one / eight,
    }


def together(preset: str = "small", rounds: int = 3, duration_s: float = 2.0) -> dict[str, Any]:
    """The time of eight jobs beside that of one, of a model in int8, with random weights, that no cache holds."""
    request = {"text": PROMPT, "duration_s": duration_s}
    one, eight = [], []
    with tempfile.TemporaryDirectory() as folder:
        save_model(untrained(preset, "cpu", "fp32").model, Path(folder) / preset)
        command = (*DESCANT, "serve", "--no-studio", "--precision", "int8", "--device", "cpu")
        with serving(command, model=Path(folder) / preset) as server, ThreadPoolExecutor(8) as pool:
            server.made(**request, seed=0)
            for round in range(rounds):
                began = time.monotonic()
                server.made(**request, seed=round)
                one.append(time.monotonic() - began)
                began = time.monotonic()
                list(pool.map(lambda seed: server.made(**request, seed=seed), range(8)))
                eight.append(time.monotonic() - began)
    ratio = 8 * statistics.median(one) / statistics.median(eight)
    return {"preset": preset, "one_job_s": one, "eight_jobs_s": eight, "eight_against_one": ratio}


MEASUREMENTS = {one.__name__: one for one in (streams, queue, stop, kills, worker, search, starter, overhead, together)}


if __name__ == "__main__":
    take_named(__doc__, MEASUREMENTS)
