"""Progress on stderr: a bar with the time left and the speed against real time, or at most three lines in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Amount: TypeAlias = int | float

Report: TypeAlias = Callable[[Amount, Amount], None]
"""Called with what is done and with the whole, in any unit."""

QUIET_S = 10.0


@contextmanager
def progress(title: str, audio_s: float) -> Iterator[Report]:
    """Shows how far some work is that makes or reads ``audio_s`` seconds of audio; nothing stays when it ends."""
    began = time.monotonic()

    def speed(share: float) -> str:
        factor = audio_s * share / max(time.monotonic() - began, 1e-9)
        return f"{factor:.2g}x real time"

    if not sys.stderr.isatty():
        yield _log_lines(title, began, speed)
        return
    # Here and not above: a command that shows no bar need not wait for it.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(), TextColumn("{task.fields[speed]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0, speed="")

        def report(done: Amount, whole: Amount) -> None:
            bar.update(task, completed=done / whole, speed=speed(done / whole))

        yield report


def part_of(report: Report, part: int, num_parts: int) -> Report:
    """A report on one of several equal parts of the work."""

    def report_part(done: Amount, whole: Amount) -> None:
        report(part + done / whole, num_parts)

    return report_part


def _log_lines(title: str, began: float, speed: Callable[[float], str]) -> Report:
    """A line at each quarter, and none at all for work that is done in ten seconds."""
    shown = 0

    def report(done: Amount, whole: Amount) -> None:
        nonlocal shown
        quarter = int(4 * done / whole)
        if shown < quarter < 4 and time.monotonic() - began > QUIET_S:
            shown = quarter
            left_s = (time.monotonic() - began) * (whole - done) / done
            print(f"{title}: {25 * quarter} %, {left_s:.0f} s left, {speed(done / whole)}", file=sys.stderr)

    return report
