"""A library of five hundred clips: it opens without a pause, and is paged, searched and chosen from, also by keys."""

from collections.abc import Callable

import pytest

from tests.apps.studio.conftest import Studio, eventually, real_time

OpenStudio = Callable[..., Studio]
CLIPS = 500
LONGEST_MS = 200
LONG_TASKS = """
window.longTasks = [];
new PerformanceObserver((list) => window.longTasks.push(...list.getEntries().map(({ duration }) => duration)))
    .observe({ type: "longtask", buffered: true });
"""

COUNT_DATES = """
window.dates = 0;
const write = Date.prototype.toLocaleString;
Date.prototype.toLocaleString = function (...words) { window.dates += 1; return write.apply(this, words); };
"""


@pytest.fixture
def large(studio: OpenStudio) -> Studio:
    opened = studio()
    for number in range(CLIPS):
        opened.make(f"clip {number}", duration_s=1)
    opened.page.add_init_script(LONG_TASKS)
    return opened


def long_tasks(opened: Studio) -> list[float]:
    """How long the page did not answer, each time."""
    opened.page.wait_for_timeout(500)
    found: list[float] = opened.page.evaluate("longTasks.splice(0)")
    return found


@real_time
def test_it_opens_and_is_chosen_from_without_a_pause(large: Studio) -> None:
    large.open("#/library")
    large.page.wait_for_selector(".rows .card")
    assert max(long_tasks(large), default=0) < LONGEST_MS
    large.page.locator(".rows .card .choose").nth(3).click()
    large.page.get_by_text("1 chosen").wait_for()
    large.page.fill("#search", "clip 499")
    eventually(lambda: large.page.locator(".rows .card").count() == 1)
    assert max(long_tasks(large), default=0) < LONGEST_MS


def test_rows_that_are_there_are_not_drawn_again_where_more_are_shown(large: Studio) -> None:
    """All were, for each further page: tasks of 190 ms with 450 rows. A row writes its date whenever it is drawn."""
    large.page.add_init_script(COUNT_DATES)
    large.open("#/library")
    cards = large.page.locator(".rows .card")
    for count in (100, 150, 200):
        large.page.wait_for_timeout(500)
        large.page.evaluate("window.dates = 0")
        large.page.get_by_role("button", name="Show more").click()
        eventually(lambda count=count: cards.count() == count)
        assert 50 <= large.page.evaluate("dates") < 100


def test_all_of_it_is_reached_and_used_by_keys(large: Studio) -> None:
    large.open("#/library")
    cards = large.page.locator(".rows .card")
    for count in range(100, CLIPS + 1, 50):
        large.page.get_by_role("button", name="Show more").focus()
        large.page.keyboard.press("Enter")
        eventually(lambda count=count: cards.count() == count)
    # The button went: the focus is on what was read last, or beside it.
    assert large.page.evaluate("document.activeElement !== document.body")
    for place in (499, 480):
        cards.nth(place).locator(".choose").focus()
        large.page.keyboard.press("Enter")
    large.page.get_by_role("link", name="Compare 2").wait_for()
    cards.nth(300).get_by_label("Favourite", exact=True).focus()
    large.page.keyboard.press("Enter")
    cards.nth(300).get_by_label("No favourite any more").wait_for()
    assert sum(clip.own["favourite"] for clip in large.server.clips) == 1
    large.page.wait_for_timeout(600)
    assert cards.count() == CLIPS
    large.page.keyboard.press("/")
    large.page.keyboard.type("clip 499")
    eventually(lambda: cards.count() == 1)
    large.page.keyboard.press("Escape")
    large.page.get_by_label("More for clip 499", exact=True).focus()
    large.page.keyboard.press("Enter")
    large.page.locator(".menu[open]").get_by_role("button", name="Delete").focus()
    large.page.keyboard.press("Enter")
    eventually(lambda: large.server.clips[0].trashed_at is not None)
