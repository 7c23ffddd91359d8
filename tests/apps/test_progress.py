"""Progress: a bar for people, next to nothing for logs, and never on stdout."""

import io
import re
import sys

import pytest

from descant.apps.cli import progress as module
from descant.apps.cli.outputs import printable
from descant.apps.cli.progress import part_of, progress, waiting


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_terminal_sees_the_title_the_time_left_and_the_speed(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with progress("making music", audio_s=100.0) as report:
        report(1, 4)
        report(4, 4)
    shown = sys.stderr.getvalue()
    assert "making music" in shown
    assert "x real time" in shown


def test_a_log_gets_nothing_of_short_work_and_three_lines_of_long_work(monkeypatch, clock):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress("short", audio_s=1.0) as report:
        for done in range(101):
            clock[0] = done / 100
            report(done, 100)
    assert sys.stderr.getvalue() == ""
    with progress("long", audio_s=50.0) as report:
        for done in range(1, 1_001):
            clock[0] = 1.0 + done / 10
            report(done, 1_000)
    lines = sys.stderr.getvalue().splitlines()
    assert lines == [f"long: {p} %, {100 - p} s left, 0.5x real time" for p in (25, 50, 75)]


@pytest.mark.parametrize("title", ["10 s with a[/b] on cpu", "[bold]x[/bold]", "\x1b[31mred\x07", "a\nb", "модель"])
@pytest.mark.parametrize("columns", ["1", "20", "120"])
def test_titles_are_text_and_nothing_else_on_terminals_of_any_width(monkeypatch, title, columns):
    """A model's folder called a[/b] once ended in a crash: rich took it for markup."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    with waiting(title):
        pass
    with progress(title, audio_s=1.0) as report:
        report(1, 2)
    shown = sys.stderr.getvalue()
    assert "\x07" not in shown
    assert "\x1b[31mred" not in shown
    if columns == "120":
        assert printable(title) in shown


@pytest.mark.parametrize("term", ["dumb", "unknown", ""])
def test_a_simple_terminal_gets_lines_from_the_start(monkeypatch, clock, term):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", term)
    with waiting("loading x"):
        assert sys.stderr.getvalue() == "loading x\n"
    with progress("making", audio_s=1.0) as report:
        assert sys.stderr.getvalue() == "loading x\nmaking\n"
        for done in range(1, 101):
            clock[0] = done / 100
            report(done, 100)
    shown = sys.stderr.getvalue()
    assert len(shown.splitlines()) == 5
    assert "\x1b" not in shown


def test_no_color_means_no_colour(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    with progress("making", audio_s=1.0) as report:
        report(1, 2)
    assert "making" in sys.stderr.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*3[0-9](;[0-9]+)*m", sys.stderr.getvalue())


def test_waiting_leaves_nothing_in_a_log(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with waiting("loading"):
        pass
    assert sys.stderr.getvalue() == ""


def test_parts_add_up_to_the_whole():
    shares = []
    for part in range(4):
        report = part_of(lambda done, whole: shares.append(done / whole), part, 4)
        report(5, 10)
        report(10, 10)
    assert shares == [0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]
