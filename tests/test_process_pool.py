"""The processes that a command starts: Ctrl-C, and the end of their parent."""

import inspect
import multiprocessing.connection
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from descant import process_pool as process_pool_module
from descant.errors import ProcessLost
from descant.signals import interruption_delayed

fcntl = pytest.importorskip("fcntl", reason="no file locks")
pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks")

PRESSED_WHILE_A_WORKER_IMPORTS = """
from descant.process_pool import process_pool
from pressed import begin, number

if __name__ == "__main__":
    with process_pool(2, begin, option="--workers") as pool:
        print(sum(pool.map(number, range(10))))
"""
PRESSED = """
import multiprocessing, os, signal

if multiprocessing.parent_process() is not None:
    os.kill(os.getpid(), signal.SIGINT)

def begin():
    os.kill(os.getpid(), signal.SIGINT)

def number(value):
    os.kill(os.getpid(), signal.SIGINT)
    return value
"""


def test_ctrl_c_never_reaches_a_worker_not_even_while_it_imports(tmp_path):
    """A worker that was still importing what it was to do printed a traceback."""
    (tmp_path / "main.py").write_text(PRESSED_WHILE_A_WORKER_IMPORTS)
    (tmp_path / "pressed.py").write_text(PRESSED)
    done = subprocess.run([sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("45\n", "")


WAITING_FOR_WORKERS = """
from descant.process_pool import process_pool
from waiting import begin, wait

if __name__ == "__main__":
    with process_pool(2, begin, option="--workers") as pool:
        list(pool.map(wait, range(2)))
"""
WAITING = """
import fcntl, os, time

def begin():
    pass

def wait(number):
    with open(f"{number}.new", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        os.replace(f"{number}.new", f"{number}.lock")
        time.sleep(600)
"""


def test_workers_end_when_their_parent_is_killed(tmp_path):
    """They waited for ever, each with a copy of the libraries in memory."""
    (tmp_path / "main.py").write_text(WAITING_FOR_WORKERS)
    (tmp_path / "waiting.py").write_text(WAITING)
    files = [tmp_path / "0.lock", tmp_path / "1.lock"]
    with subprocess.Popen([sys.executable, "main.py"], cwd=tmp_path) as parent:
        try:
            eventually(lambda: all(file.exists() for file in files))
            assert not any(map(is_free, files))
        finally:
            parent.kill()
    eventually(lambda: all(map(is_free, files)))


def is_free(file: Path) -> bool:
    """Whether the process that locked a file has ended."""
    with file.open() as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def eventually(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)


def press_here() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def press_in_a_thread_without_the_mask() -> None:
    def press() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        press_here()

    thread = threading.Thread(target=press)
    thread.start()
    thread.join()


@pytest.mark.parametrize("press", [press_here, press_in_a_thread_without_the_mask])
def test_ctrl_c_while_a_process_is_started_is_neither_lost_nor_early(press):
    earlier = signal.getsignal(signal.SIGINT)
    reached = []

    def start() -> None:
        with interruption_delayed():
            press()
            reached.append("end")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert reached == ["end"]
    assert signal.getsignal(signal.SIGINT) is earlier
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_process_started_while_ctrl_c_is_delayed_inherits_that_it_is_blocked():
    code = "import signal; print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))"
    with interruption_delayed():
        inside = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    outside = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (inside.stdout, outside.stdout) == ("True\n", "False\n")


def test_a_process_killed_within_its_result_breaks_the_pool(monkeypatch):
    """The pool waited for the rest of the result for ever, and the other processes for their turn to send theirs."""
    monkeypatch.setattr(process_pool_module, "STUCK_S", 0.5)
    with (  # noqa: PT012
        pytest.raises(ProcessLost, match="--workers"),
        process_pool_module.process_pool(2, nothing, option="--workers") as pool,
    ):
        writer = pool._result_queue._writer
        monkeypatch.setattr(writer, "_close", lambda: closed_slowly(writer.fileno()))
        pool.submit(half_a_result)
        for later in [pool.submit(os.getpid) for _ in range(8)]:
            later.result(timeout=60)


def test_a_block_that_ends_while_a_result_is_half_sent_ends_the_pool(monkeypatch):
    """The pool waited for ever for the rest of the result of a process that had been killed."""
    monkeypatch.setattr(process_pool_module, "STUCK_S", 0.5)
    with (  # noqa: PT012
        pytest.raises(ZeroDivisionError),
        process_pool_module.process_pool(1, nothing, option="--workers") as pool,
    ):
        [process] = pool._processes.values()
        pool.submit(half_a_result)
        multiprocessing.connection.wait([process.sentinel])
        raise ZeroDivisionError


def closed_slowly(file: int) -> None:
    """Closes a file, which another thread may want to close too meanwhile."""
    os.close(file)
    time.sleep(1)


def nothing() -> None:
    pass


def half_a_result() -> None:
    """Begins to send a message of a thousand bytes as a worker does, and is killed in its middle."""
    frame = inspect.currentframe()
    while frame is not None and "result_queue" not in frame.f_locals:
        frame = frame.f_back
    queue = frame.f_locals["result_queue"]
    queue._wlock.acquire()
    os.write(queue._writer.fileno(), struct.pack("!i", 1_000) + bytes(500))
    os.kill(os.getpid(), signal.SIGKILL)
