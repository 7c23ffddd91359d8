"""A client of the service: the few requests that a program needs, with the standard library alone."""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

from descant.errors import AudioError, DescantError, InvalidRequest, ProcessLost

KEY_VARIABLE = "DESCANT_KEY"
TIMEOUT_S = 60.0
LOOK_S = 0.3
BLOCK_BYTES = 2**14
NOT_INSTALLED, NO_ROOM, NOT_NOW = 501, 507, (502, 503, 504)
"""HTTP statuses of what this server never does, and of what it, or a proxy in front of it, cannot do now."""
BAD_AUDIO, BEING_ANSWERED = "/problems/bad-audio", "/problems/idempotency-in-progress"
ENDED = ("succeeded", "failed", "cancelled")


class ServerError(DescantError):
    """The server has failed over what it was asked, through no fault of the request."""


class Unavailable(ServerError, ProcessLost):
    """The server does not answer, or cannot do it now; the same request may succeed later."""


class Busy(Unavailable):
    """The server has too much to do now.

    Args:
        seconds: after which it may have less.
    """

    def __init__(self, detail: str, seconds: float = 1.0) -> None:
        super().__init__(detail)
        self.seconds = seconds


class BeingAnswered(Busy):
    """The server is still answering an earlier sending of the same request."""


@dataclass
class Submission:
    """A job that a server is asked for.

    Args:
        key: tells the server that a job which is sent again is the same one.
        is_sent: whether the server may have the job, also where no answer has come.
    """

    job: dict[str, Any]
    key: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    is_sent: bool = False


class Client:
    """Speaks to one server.

    Args:
        url: its address, such as ``http://127.0.0.1:8765``.
        key: as ``descant serve keys add`` prints it; None is what the environment has under DESCANT_KEY.

    Raises:
        InvalidRequest: the address is none, or no key looks like this one.
    """

    def __init__(self, url: str, key: str | None = None) -> None:
        if not _is_address(url):
            raise InvalidRequest(f"--server {url!r:.100}: give an address such as http://127.0.0.1:8765")
        self._url = url.rstrip("/")
        self._key = os.environ.get(KEY_VARIABLE) if key is None else key
        if self._key and not (self._key.isascii() and self._key.isprintable()):
            raise InvalidRequest(f"{KEY_VARIABLE}: it has characters that no key has; descant serve keys add makes one")

    def get(self, path: str) -> Any:
        """The JSON of a GET."""
        with self._open(Request(self._url + path)) as answer:
            return self._object(answer)

    def server(self) -> dict[str, Any]:
        """What the server is and can do.

        Raises:
            InvalidRequest: what listens there is not descant serve.
        """
        found: dict[str, Any] = self.get("/v1/server")
        if not found.keys() >= {"formats", "limits", "model", "device", "precision", "version"}:
            raise self._stranger()
        return found

    def submit(self, job: dict[str, Any] | Submission) -> dict[str, Any]:
        """The new job. A request that is sent twice by the network is one job; a full queue is waited for.

        Args:
            job: as in the protocol; as a ``Submission`` it can be withdrawn.
        """
        submission = job if isinstance(job, Submission) else Submission(job)
        while True:
            submission.is_sent = True
            try:
                return self._send(submission, TIMEOUT_S)
            except BeingAnswered as answering:
                time.sleep(answering.seconds)
            except Busy as full:
                submission.is_sent = False
                time.sleep(full.seconds)

    def withdraw(self, submission: Submission, seconds: float) -> None:
        """Ends the job of a submission within this time, also one whose answer is lost; what is made of it stays there.

        Sent again with its key, the request gives the job that it has become. One that has not arrived becomes a job
        now, and ends before it is made: the first sending may still be on its way.

        Raises:
            DescantError: the server does not do it.
        """
        deadline = time.monotonic() + seconds
        while submission.is_sent and (left_s := deadline - time.monotonic()) > 0:
            try:
                job = self._send(submission, left_s)
            except BeingAnswered:
                time.sleep(min(LOOK_S, left_s))
                continue
            self.cancel(job, max(LOOK_S, deadline - time.monotonic()))
            return

    def finished(self, job: dict[str, Any], report: Callable[[float, float], None] | None = None) -> dict[str, Any]:
        """The job once it has ended.

        Args:
            report: is called with the seconds that are made of all clips, and with those that will be.
        """
        whole = sum(clip["asked_s"] for clip in job["clips"])
        while job["state"] not in ENDED:
            time.sleep(LOOK_S)
            job = self.get(job["urls"]["self"])
            if report is not None:
                report(sum(min(clip["duration_s"], clip["asked_s"]) for clip in job["clips"]), whole)
        return job

    def cancel(self, job: dict[str, Any], timeout_s: float = TIMEOUT_S) -> None:
        """Ends a job; what is made of it stays on the server."""
        with self._open(Request(self._url + job["urls"]["cancel"], b"", method="POST"), timeout_s):
            pass

    def _send(self, submission: Submission, timeout_s: float) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Idempotency-Key": submission.key}
        request = Request(f"{self._url}/v1/jobs", json.dumps(submission.job).encode(), headers, method="POST")
        with self._open(request, timeout_s) as answer:
            return self._object(answer)

    def upload(self, file: Path) -> str:
        """Brings a file, and gives its identifier there."""
        boundary = secrets.token_hex(16)
        try:
            content = file.read_bytes()
        except OSError as error:
            raise AudioError(f"{str(file)!r}: {error.strerror}") from error
        name = file.name.encode("ascii", "replace").decode().replace('"', "_")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        try:
            with self._open(Request(f"{self._url}/v1/uploads", body, headers, method="POST")) as answer:
                return str(self._object(answer)["id"])
        except (AudioError, InvalidRequest) as error:
            raise type(error)(f"{str(file)!r}: {str(error).removeprefix('file: ')}") from error

    def content(self, path: str, **query: Any) -> bytes:
        """The bytes of a file of the server."""
        return b"".join(self.blocks(path, **query))

    def blocks(self, path: str, **query: Any) -> Iterator[bytes]:
        """The bytes of a file or a stream, as they come."""
        given = {name: value for name, value in query.items() if value is not None}
        with self._open(Request(f"{self._url}{path}?{urlencode(given)}")) as answer:
            while block := answer.read1(BLOCK_BYTES):
                yield block

    def _object(self, answer: Any) -> dict[str, Any]:
        """The JSON object that an answer is."""
        try:
            found = json.load(answer)
        except ValueError:
            found = None
        # Whatever else listens there; pages of proxies, for example.
        if not isinstance(found, dict):
            raise self._stranger()
        return found

    def _stranger(self) -> InvalidRequest:
        return InvalidRequest(f"--server {self._url}: its answer is not that of descant serve; check the address")

    @contextmanager
    def _open(self, request: Request, timeout_s: float = TIMEOUT_S) -> Iterator[Any]:
        """The answer to a request, for as long as it is read."""
        if self._key:
            # Not for the server that an answer may lead to.
            request.add_unredirected_header("Authorization", f"Bearer {self._key}")
        try:
            with urlopen(request, timeout=timeout_s) as answer:
                yield answer
        except HTTPError as error:
            problem = _problem(error)
            detail = problem["detail"]
            if error.code == 429 or problem["type"] == BEING_ANSWERED:
                busy = BeingAnswered if problem["type"] == BEING_ANSWERED else Busy
                raise busy(f"--server {self._url}: {detail}", _seconds(error)) from error
            raise self._error(problem) from error
        except (URLError, OSError, HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise Unavailable(
                f"--server {self._url}: cannot be reached ({reason}); is descant serve running?"
            ) from error

    def check_succeeded(self, job: dict[str, Any]) -> None:
        """Raises the error that has ended a job, if one has."""
        problem = job["problem"]
        if job["state"] != "succeeded" and problem is None:
            raise Unavailable(f"--server {self._url}: the job was {job['state']} there")
        if job["state"] != "succeeded":
            raise self._error(problem)

    def _error(self, problem: dict[str, Any]) -> DescantError:
        """The error that a problem is."""
        status, detail = problem["status"], problem["detail"]
        if problem["type"] == BAD_AUDIO:
            return AudioError(detail)
        if 400 <= status < 500 or status == NOT_INSTALLED:
            return InvalidRequest(detail)
        kind = Unavailable if status in (*NOT_NOW, NO_ROOM) else ServerError
        return kind(f"--server {self._url}: {detail}")


def _is_address(url: str) -> bool:
    """Whether this is where a server can be: scheme, host, perhaps a port and a path."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port, or brackets, that no address has
        return False
    is_plain = url.isprintable() and " " not in url and parts.path.isascii() and not parts.query and not parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0 and is_plain


def _seconds(error: HTTPError) -> float:
    """After how many seconds to ask again; 1 if the answer, perhaps of a proxy, has no number."""
    text = error.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 1.0


def _problem(error: HTTPError) -> dict[str, Any]:
    """The status, the type and the detail of a problem."""
    try:
        problem = json.loads(error.read())
        return {"status": error.code, "type": str(problem.get("type")), "detail": str(problem["detail"])}
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return {"status": error.code, "type": "", "detail": f"HTTP status {error.code}"}
