"""Headless Chromium on the built page, with a recorder of what would reach the loudspeakers."""

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.apps.studio.fake_server import FakeServer

PROGRAM = next(
    (path for name in ("chromium-headless-shell", "chromium", "chromium-browser") if (path := which(name))), None
)
# Long enough for a machine that is busy otherwise.
WAIT_MS = 90_000
TRIES = 4
TICK_S, LATE_S = 0.01, 0.05
CALM_S, CALM_WITHIN_S = 2.0, 90.0
RECORDER = (Path(__file__).parent / "recorder.js").read_text()


@dataclass
class Studio:
    """A page of a server.

    Args:
        server: None where it is not the test server.
    """

    url: str
    page: Any
    server: Any

    def make(self, text: str = "warm lo-fi piano", **request: Any) -> Any:
        """A finished job on the server, made before the page looks."""
        return self.server.add({"text": text, "duration_s": 4, **request}, age_s=3_600)

    def open(self, hash: str = "#/", wait: bool = True) -> None:
        self.page.goto(f"{self.url}/{hash}")
        if wait:
            self.page.wait_for_selector("main, .top")

    def recording(self) -> NDArray[np.float32]:
        """What reached the audio output of the only context."""
        (part,) = self.page.evaluate("recording()")
        return np.frombuffer(base64.b64decode(part["samples"]), np.float32)

    def has_sound(self) -> bool:
        """Whether anything has reached the audio output."""
        return any(part["samples"].strip("A=") for part in self.page.evaluate("recording()"))

    def recording_began_at(self) -> float:
        """The time of day at which the first sample of the recording was due at the loudspeakers."""
        (part,) = self.page.evaluate("recording()")
        return part["began_at"]

    @property
    def sent_jobs(self) -> list[dict[str, Any]]:
        """The requests that the page has sent."""
        return [body for method, path, body in self.server.requests if (method, path) == ("POST", "/v1/jobs")]

    def drag_on_stage(self, first: float, last: float) -> None:
        """Marks a part of the large wave, in shares of its width."""
        box = self.page.locator(".stage .wave").bounding_box()
        y = box["y"] + box["height"] / 2
        self.page.mouse.move(box["x"] + first * box["width"], y)
        self.page.mouse.down()
        for share in np.linspace(first, last, 6):
            self.page.mouse.move(box["x"] + float(share) * box["width"], y)
        self.page.mouse.up()

    def wait_until(self, expression: str, timeout_s: float = 60) -> None:
        self.page.wait_for_function(expression, timeout=1_000 * timeout_s)


def eventually(condition: Callable[[], Any], timeout_s: float = 60) -> Any:
    """The first true value of the condition."""
    until = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)
    return value


class Lateness:
    """How long this process has waited for a processor at most, within the block."""

    worst_s = 0.0

    def __enter__(self) -> "Lateness":
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._is_over.is_set():
            began = time.monotonic()
            time.sleep(TICK_S)
            self.worst_s = max(self.worst_s, time.monotonic() - began - TICK_S)


def wait_until_on_time() -> None:
    """Waits until this process has not waited for a processor for a while, but not for ever."""
    until = time.monotonic() + CALM_WITHIN_S
    while time.monotonic() < until:
        with Lateness() as lateness:
            time.sleep(CALM_S)
        if lateness.worst_s < LATE_S:
            return


def real_time(test: Callable[..., None]) -> Callable[..., None]:
    """A test of what happens at a moment.

    If it failed while the machine itself came too late, it is tried again once that is on time, or after a while.
    """

    @wraps(test)
    def tried(*arguments: Any, **fixtures: Any) -> None:
        for _ in range(TRIES - 1):
            lateness = Lateness()
            try:
                with lateness:
                    return test(*arguments, **fixtures)
            except AssertionError:
                if lateness.worst_s < LATE_S:
                    raise
            wait_until_on_time()
        return test(*arguments, **fixtures)

    return tried


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if PROGRAM is None:
        pytest.skip("chromium is not installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Studio]]:
    """Opens pages of a server at an address. At the end no page may have failed or gone elsewhere."""
    with ExitStack() as stack:
        faults: list[str] = []

        def start(
            url: str, server: Any = None, viewport: tuple[int, int] = (1280, 800), scheme: str = "light"
        ) -> Studio:
            size = {"width": viewport[0], "height": viewport[1]}
            # The real server's policy for content refuses the recorder's code, as it does any that is not the page's.
            context = browser.new_context(viewport=size, color_scheme=scheme, bypass_csp=True)
            stack.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(WAIT_MS)
            page.add_init_script(RECORDER)
            page.on("pageerror", lambda error: faults.append(str(error)))
            page.on("request", lambda request: note_foreign(request.url, url))
            return Studio(url, page, server)

        def note_foreign(url: str, own: str) -> None:
            if not url.startswith((own, "blob:", "data:")):
                faults.append(f"request to {url}")

        yield start
        assert faults == []


@pytest.fixture
def studio(visit: Callable[..., Studio]) -> Iterator[Callable[..., Studio]]:
    """Opens pages: ``studio(pace=1)`` has a test server of its own."""
    with ExitStack() as stack:

        def start(viewport: tuple[int, int] = (1280, 800), scheme: str = "light", **settings: Any) -> Studio:
            server = FakeServer(**settings)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return visit(server.url, server, viewport, scheme)

        yield start


@pytest.fixture
def made(studio: Callable[..., Studio]) -> Studio:
    """A page with four finished variations, the first of them current."""
    opened = studio()
    opened.make(count=4, seed=11)
    opened.open()
    opened.page.wait_for_selector(".stage")
    return opened
