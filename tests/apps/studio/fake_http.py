"""What the test server keeps in memory, and one request to it with its answer: routing, keys, JSON, problems."""

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.apps.studio.pacer import Clip, Job

READ_BYTES = 65_536
Route = tuple[str, str, Callable[..., None]]
"""Method, pattern of the path, and what answers: called with the exchange and the groups of the pattern."""


class Problem(Exception):
    def __init__(self, status: int, slug: str, detail: str, errors: list[dict[str, Any]] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.errors = errors or []


class Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Memory"

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.answer()

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET

    def answer(self) -> None:
        address = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(address.query).items()}
        body = self.read_body()
        if body is None:
            self.close_connection = True
            return
        is_json = self.headers.get("Content-Type") == "application/json"
        self.body = json.loads(body) if is_json and body else body
        self.server.requests.append((self.command, self.path, self.body))
        if self.server.is_down:
            self.close_connection = True
            return
        try:
            self.check_key(address.path)
            for method, pattern, action in self.server.routes:
                match = re.fullmatch(pattern, address.path)
                if method == self.command and match:
                    action(self, *map(unquote, match.groups()))
                    return
            raise Problem(404, "not-found", f"there is nothing at {address.path}")
        except Problem as problem:
            fields = {"title": str(problem), "detail": str(problem), "request_id": "req_1", "status": problem.status}
            fields |= {"errors": problem.errors} if problem.errors else {}
            self.send({"type": f"/problems/{problem.slug}", **fields}, problem.status, "application/problem+json")

    def read_body(self) -> bytes | None:
        """What was sent, not faster than the server reads; None where the sender gave up."""
        length = int(self.headers.get("Content-Length") or 0)
        parts: list[bytes] = []
        while (left := length - sum(map(len, parts))) > 0:
            part = self.rfile.read(min(left, READ_BYTES))
            if not part:
                return None
            parts.append(part)
            if self.server.reads_bytes_per_s is not None:
                time.sleep(len(part) / self.server.reads_bytes_per_s)
        return b"".join(parts)

    def check_key(self, path: str) -> None:
        key = self.server.key
        if key is None or not path.startswith("/v1"):
            return
        cookie, bearer = self.headers.get("Cookie") or "", self.headers.get("Authorization")
        if f"session={key}" not in cookie and bearer != f"Bearer {key}":
            raise Problem(401, "unauthorized", "a key is needed")

    def send(self, value: Any, status: int = 200, type: str = "application/json", headers: Any = ()) -> None:
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", type)
        self.send_header("Content-Length", str(len(content)))
        for name, text in headers:
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)

    def done(self) -> None:
        self.send_response(204)
        self.end_headers()

    def clip(self, id: str) -> Clip:
        for clip in self.server.clips:
            if clip.id == id:
                return clip
        raise Problem(404, "not-found", f"there is no clip {id}")


class Memory(ThreadingHTTPServer):
    """A server over the pacer. ``requests`` has what came in, as (method, path, body).

    Args:
        pace: seconds of audio made in a second.
        chunk_bytes: size of the chunks of a stream; None sends what there is.
        key: what a bearer must send; None lets everyone in.
        has_midi: whether clips have MIDI files.
    """

    routes: tuple[Route, ...] = ()
    daemon_threads = True

    def __init__(
        self, pace: float = 20, chunk_bytes: int | None = None, key: str | None = None, has_midi: bool = True
    ) -> None:
        super().__init__(("127.0.0.1", 0), Exchange)
        self.pace = pace
        self.chunk_bytes = chunk_bytes
        self.key = key
        self.has_midi = has_midi
        self.waits_s = 0.0
        self.reads_bytes_per_s: float | None = None
        self.is_down = False
        self.is_full = False
        self.first_chunk_at: float | None = None
        self.jobs: dict[str, Job] = {}
        self.presets: dict[str, Any] = {}
        self.collections: dict[str, Any] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.tests: dict[str, dict[str, Any]] = {}
        self.answers: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def clips(self) -> list[Clip]:
        """All clips, the newest first."""
        return [clip for job in reversed(self.jobs.values()) for clip in job.clips]

    def add(self, request: dict[str, Any], age_s: float = 0) -> Job:
        """A job that was sent ``age_s`` seconds ago."""
        at = time.time() - age_s
        created_at = datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")
        job = Job(request, self.pace, at + self.waits_s, created_at)
        self.jobs[job.id] = job
        return job

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is no error."""
