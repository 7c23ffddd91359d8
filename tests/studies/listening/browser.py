"""Chromium without a window, driven over its debugging pipe: messages are JSON, each followed by a zero byte."""

import fcntl
import json
import os
import subprocess
import time
from pathlib import Path
from shutil import which
from typing import Any

PROGRAM = next(
    (path for name in ("chromium-headless-shell", "chromium", "chromium-browser") if (path := which(name))), None
)
WAIT_S = 30.0
KEYS = {
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Tab": {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9},
    "ArrowRight": {"key": "ArrowRight", "code": "ArrowRight", "windowsVirtualKeyCode": 39},
}


class Browser:
    """One page, used by keyboard only. ``events`` are all messages that the browser sent on its own."""

    def __init__(self, folder: Path) -> None:
        assert PROGRAM is not None
        self.events: list[dict[str, Any]] = []
        self._last_id = 0
        self._buffer = b""
        ours_in, self._write = _high_pipe()
        self._read, ours_out = _high_pipe()
        # The browser reads from descriptor 3 and writes to descriptor 4.
        command = f'exec "$0" "$@" 3<&{ours_in} 4>&{ours_out}'
        options = ["--headless", "--no-sandbox", "--remote-debugging-pipe", "--mute-audio", "--disable-gpu"]
        self._process = subprocess.Popen(
            ["bash", "-c", command, PROGRAM, *options, f"--user-data-dir={folder / 'profile'}", "about:blank"],
            pass_fds=(ours_in, ours_out),
            stderr=subprocess.DEVNULL,
        )
        os.close(ours_in)
        os.close(ours_out)
        targets = self._send("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.downloads = folder / "downloads"
        self._send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a method of the page."""
        return self._send(method, sessionId=self._session, **parameters)

    def open(self, url: str) -> None:
        """Loads a page and waits until its script has run."""
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Waits until an expression is true."""
        until = time.monotonic() + WAIT_S
        while not self.value(expression):
            assert time.monotonic() < until, f"{expression} did not become true"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Presses and releases a key."""
        self.call("Input.dispatchKeyEvent", type="keyDown", **KEYS[key])
        self.call("Input.dispatchKeyEvent", type="keyUp", **KEYS[key])

    def tab_to(self, id: str) -> None:
        """Presses the tabulator until an element has the focus."""
        for _ in range(20):
            if self.value("document.activeElement.id") == id:
                return
            self.press("Tab")
        raise AssertionError(f"the keyboard does not reach {id!r}")

    def close(self) -> None:
        """Ends the browser."""
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def _send(self, method: str, sessionId: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": parameters}
        if sessionId is not None:
            message["sessionId"] = sessionId
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._last_id:
                assert "error" not in answer, (method, answer)
                return answer["result"]
            self.events.append(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._read, 65_536)
            assert part, "the browser has ended"
            self._buffer += part
        text, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(text)


def _high_pipe() -> tuple[int, int]:
    """A pipe whose descriptors are not 3 or 4, which the shell is to replace."""
    low = os.pipe()
    read, write = (fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10) for descriptor in low)
    for descriptor in low:
        os.close(descriptor)
    return read, write
