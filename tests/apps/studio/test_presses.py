"""A press does its work once: also a double one, one while the first is under way, and a key that is held."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.apps.studio.conftest import Studio, eventually

OpenStudio = Callable[..., Studio]
HUMAN_MS = 150


STOPPED_CLOCK = """() => {
    const running = performance.now;
    let now = performance.now();
    performance.now = () => now;
    window.startClock = () => { performance.now = running; };
    window.passTime = (ms) => { now += ms; };
}"""


def press_twice(control: Any) -> None:
    """A double press as slow as a person's by the page's clock, however slow the machine is: the server has answered
    the first half before the second."""
    page = control.page
    control.hover()
    page.evaluate(STOPPED_CLOCK)
    page.mouse.down()
    page.mouse.up()
    page.wait_for_timeout(HUMAN_MS)
    page.evaluate(f"passTime({HUMAN_MS})")
    page.mouse.down(click_count=2)
    page.mouse.up(click_count=2)
    page.evaluate("startClock()")


def sent(opened: Studio, request: str) -> int:
    return sum(f"{method} {path}".startswith(request) for method, path, _ in opened.server.requests)


PRESSES: dict[str, tuple[str, Callable[[Studio], Any], str]] = {
    "generate": ("#/", lambda studio: studio.page.locator(".generate"), "POST /v1/jobs"),
    "more like this": ("#/", lambda studio: studio.page.get_by_label("More like this").first, "POST /v1/jobs"),
    "continue": ("#/", lambda studio: studio.page.locator(".tools .button").first, "POST /v1/jobs"),
    "collect": ("#/library", lambda studio: studio.page.get_by_role("button", name="Collect"), "POST /v1/collections"),
    "download all": (
        "#/library", lambda studio: studio.page.get_by_role("button", name="Download all"), "GET /v1/archive",
    ),
    "start a test": (
        "#/test?c={ids}", lambda studio: studio.page.locator(".panel .primary"), "POST /v1/listening-tests",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PRESSES)
def test_a_double_press_makes_one(studio: OpenStudio, name: str) -> None:
    """It made two jobs or two tests: the second half came after the answer to the first."""
    hash, control, request = PRESSES[name]
    opened = studio()
    ids = [clip.id for clip in opened.make(count=2).clips]
    opened.open(hash.format(ids=",".join(ids)))
    opened.page.wait_for_selector(".card, .panel")
    if "library" in hash:
        opened.page.locator(".card .choose").first.click()
    press_twice(control(opened))
    eventually(lambda: sent(opened, request))
    opened.page.wait_for_timeout(500)
    assert sent(opened, request) == 1


def test_a_suggestion_that_is_pressed_twice_makes_one(studio: OpenStudio) -> None:
    opened = studio()
    opened.open()
    press_twice(opened.page.get_by_role("button", name="warm slow piano ballad"))
    opened.page.wait_for_timeout(500)
    assert len(opened.sent_jobs) == 1


@pytest.mark.parametrize(("held", "count"), [("Control+Enter", 1), ("r", 1), ("c", 1)])
def test_a_key_that_is_held_makes_one(made: Studio, held: str, count: int) -> None:
    made.page.locator("body").click(position={"x": 700, "y": 20})
    for _ in range(12):
        made.page.keyboard.down(held.split("+")[0])
        if "+" in held:
            made.page.keyboard.down("Enter")
        made.page.wait_for_timeout(60)
    eventually(lambda: made.sent_jobs)
    made.page.wait_for_timeout(300)
    assert len(made.sent_jobs) == count


def test_a_listening_test_is_set_up_once(studio: OpenStudio) -> None:
    """The form stayed, and each press of its button made the same test again."""
    opened = studio()
    ids = [clip.id for clip in opened.make(count=2).clips]
    opened.open(f"#/test?c={','.join(ids)}")
    opened.page.get_by_label("Name").fill("mine")
    opened.page.get_by_role("button", name="Start and copy its link").click()
    opened.page.get_by_role("heading", name="mine").wait_for()
    assert opened.page.get_by_role("button", name="Start and copy its link").count() == 0
    assert opened.page.get_by_role("link", name="Open").count() == 1


@pytest.mark.parametrize("what", ["preset", "upload", "test"])
def test_a_double_press_removes_one_entry_of_a_list(studio: OpenStudio, what: str) -> None:
    """Its second half met the next entry, which had moved to the same place."""
    opened = studio()
    clip = opened.make().clips[0]
    names = ["a", "b", "c"]
    opened.server.presets.update({name: {} for name in names})
    for name in names:
        opened.server.tests[name] = {"id": name, "name": name, "kind": "pairs", "question": "?", "clip_ids": [clip.id]}
        sent = {"id": name, "name": name, "duration_s": 3.0, "created_at": "2026-01-01T00:00:00+00:00"}
        opened.server.uploads[name] = sent
    opened.open("#/test" if what == "test" else "#/")
    if what == "preset":
        opened.page.get_by_label("Presets and settings").click()
    elif what == "upload":
        opened.page.get_by_label("Choose an earlier file for Melody").click()
    label = {"preset": "Remove preset a", "upload": "Delete c", "test": "Delete the test a"}[what]
    box = opened.page.get_by_label(label, exact=True).bounding_box()
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    opened.page.mouse.click(*middle)
    opened.page.wait_for_timeout(HUMAN_MS)
    opened.page.mouse.click(*middle, click_count=2)
    kept = {"preset": opened.server.presets, "upload": opened.server.uploads, "test": opened.server.tests}[what]
    eventually(lambda: len(kept) < 3)
    opened.page.wait_for_timeout(400)
    assert len(kept) == 2


def test_a_test_with_answers_is_deleted_only_when_that_is_confirmed(studio: OpenStudio) -> None:
    """One press deleted it, and nothing brought the answers back."""
    opened = studio()
    ids = [clip.id for clip in opened.make(count=2).clips]
    opened.server.tests["t"] = {"id": "t", "name": "mine", "kind": "pairs", "question": "?", "clip_ids": ids}
    opened.server.answers.append({"participant": "ann", "trial": 0, "answer": "a"})
    opened.open("#/test")
    opened.page.get_by_text("1 participant, 1 answer").wait_for()
    press_twice(opened.page.get_by_label("Delete the test mine"))
    confirm = opened.page.get_by_role("button", name="Delete it with 1 answer?")
    confirm.wait_for()
    opened.page.wait_for_timeout(600)
    assert "t" in opened.server.tests
    confirm.click()
    eventually(lambda: opened.server.tests == {})
