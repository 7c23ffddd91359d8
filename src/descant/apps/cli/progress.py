"""Progress on stderr: a bar on a terminal, plain lines on a simple terminal, and at most three lines in a log."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from descant.apps.cli.outputs import note, printable

if TYPE_CHECKING:
    from rich.progress import Progress

Amount: TypeAlias = int | float

Report: TypeAlias = Callable[[Amount, Amount], None]
"""Called with the amount done and the whole amount, in any unit."""

QUIET_S = 10.0
SIMPLE_TERMINALS = ("", "dumb", "unknown")
"""Values of TERM for terminals that cannot move the cursor; ``rich`` shows no bar there."""


@contextmanager
def progress(title: str, audio_s: float) -> Iterator[Report]:
    """Shows the time left, and the speed against real time, of work that makes or reads ``audio_s`` seconds of audio.

    A bar disappears when the work ends.
    """
    began = time.monotonic()

    def speed(share: float) -> str:
        factor = audio_s * share / max(time.monotonic() - began, 1e-9)
        return f"{factor:.2g}x real time"

    if not _can_draw():
        # A person at a simple terminal sees at once that work has begun; a log gets lines only for long work.
        if sys.stderr.isatty():
            note(title)
        yield _lines(title, began, speed, quiet_s=0.0 if sys.stderr.isatty() else QUIET_S)
        return
    with _bar() as bar:
        task = bar.add_task(printable(title), total=1.0, speed="")

        def report(done: Amount, whole: Amount) -> None:
            bar.update(task, completed=done / whole, speed=speed(done / whole))

        yield report


@contextmanager
def waiting(title: str) -> Iterator[None]:
    """Shows people at a terminal that work of a few seconds is under way; a log gets nothing."""
    if _can_draw():
        with _bar() as bar:
            bar.add_task(printable(title), total=None, speed="")
            yield
        return
    if sys.stderr.isatty():
        note(title)
    yield


def _can_draw() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in SIMPLE_TERMINALS


def _bar() -> "Progress":
    # Imported here, so that a command without a bar does not wait for it.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    # Without markup: a model's folder may be called a[/b].
    title, speed = (TextColumn(f"{{task.{text}}}", markup=False) for text in ("description", "fields[speed]"))
    return Progress(title, BarColumn(), TimeRemainingColumn(), speed, console=Console(stderr=True), transient=True)


def part_of(report: Report, part: int, num_parts: int) -> Report:
    """A report on one of several equal parts of the work."""

    def report_part(done: Amount, whole: Amount) -> None:
        report(part + done / whole, num_parts)

    return report_part


def _lines(title: str, began: float, speed: Callable[[float], str], quiet_s: float) -> Report:
    """A line at each quarter of the work, and none before ``quiet_s`` seconds have passed."""
    shown = 0

    def report(done: Amount, whole: Amount) -> None:
        nonlocal shown
        quarter = int(4 * done / whole)
        if shown < quarter < 4 and time.monotonic() - began > quiet_s:
            shown = quarter
            left_s = (time.monotonic() - began) * (whole - done) / done
            note(f"{title}: {25 * quarter} %, {left_s:.0f} s left, {speed(done / whole)}")

    return report
