"""Clips without finished music: what cannot be done with them says so, and what can is offered."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.apps.studio.conftest import Studio, eventually

OpenStudio = Callable[..., Studio]
STILL_MADE = "still being made"


@pytest.fixture
def unfinished(studio: OpenStudio) -> Studio:
    """A clip that is being made, and is current."""
    opened = studio(pace=0.1)
    opened.server.add({"text": "piano", "duration_s": 60})
    opened.open()
    opened.page.wait_for_selector(".stage")
    opened.page.locator("body").click(position={"x": 700, "y": 20})
    return opened


@pytest.mark.parametrize("name", ["Continue", "Use as melody"])
def test_what_needs_a_finished_clip_is_not_offered_before(unfinished: Studio, name: str) -> None:
    """A melody was taken, and refused only when music was to be made with it, with the clip's id."""
    button = unfinished.page.locator(".tools").get_by_role("button", name=name)
    assert button.get_attribute("aria-disabled") == "true"
    assert STILL_MADE in button.get_attribute("title")


@pytest.mark.parametrize(("key", "words"), [("c", STILL_MADE), ("m", STILL_MADE), ("d", STILL_MADE),
                                            ("Delete", "Cancel it first")])  # fmt: skip
def test_a_key_that_needs_a_finished_clip_says_why_it_does_nothing(unfinished: Studio, key: str, words: str) -> None:
    unfinished.page.keyboard.press(key)
    unfinished.page.get_by_role("alert").get_by_text(words).wait_for()
    assert unfinished.sent_jobs == []
    assert not any(method == "DELETE" for method, _, _ in unfinished.server.requests)
    assert "melody" not in unfinished.page.evaluate("localStorage.getItem('descant-draft')")


def test_the_page_of_an_unfinished_clip_offers_nothing_that_fails(unfinished: Studio) -> None:
    unfinished.open(f"#/clip/{unfinished.server.clips[0].id}")
    unfinished.page.wait_for_selector(".clip-page table")
    assert unfinished.page.get_by_role("heading", name="Export").count() == 0
    unfinished.page.locator(".clip-head .menu summary").click()
    panel = unfinished.page.locator(".menu[open] .menu-panel")
    off = panel.locator("[aria-disabled=true]")
    assert off.count() == 4
    assert all(STILL_MADE in text for text in off.all_inner_texts() if "style" not in text)
    assert panel.get_by_text("FLAC").count() == 0


def test_what_cannot_be_done_yet_can_once_the_clip_is_finished(studio: OpenStudio) -> None:
    opened = studio(pace=2)
    opened.server.add({"text": "piano", "duration_s": 4})
    opened.open()
    opened.page.wait_for_selector(".stage")
    melody = opened.page.locator(".tools").get_by_role("button", name="Use as melody")
    eventually(lambda: melody.get_attribute("aria-disabled") == "false")
    melody.click()
    opened.page.keyboard.press("Control+Enter")
    assert eventually(lambda: opened.sent_jobs)[0]["melody"]["end_s"] == 4


def test_a_clip_without_music_can_be_deleted(studio: OpenStudio) -> None:
    """Its card had no button at all."""
    opened = studio()
    opened.server.waits_s = 60
    job: Any = opened.server.add({"text": "piano", "duration_s": 4})
    job.cancelled_at = 0.0
    opened.open("#/library")
    opened.page.get_by_text("cancelled before it began").wait_for()
    opened.page.get_by_label("More for piano").click()
    assert "has no music" in opened.page.get_by_role("button", name="Use as melody").inner_text()
    opened.page.get_by_role("button", name="Delete").click()
    eventually(lambda: job.clips[0].trashed_at is not None)
