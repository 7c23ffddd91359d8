"""Clips side by side: one place for all of them, letters that can be reached, and names that stay hidden."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.apps.studio.conftest import Studio, eventually

OpenStudio = Callable[..., Studio]


@pytest.fixture
def compared(studio: OpenStudio) -> Studio:
    opened = studio()
    clips = [opened.make(text, duration_s=60, seed=seed).clips[0] for seed, text in enumerate(("one", "two", "three"))]
    opened.open(f"#/compare?c={','.join(clip.id for clip in clips)}")
    opened.page.wait_for_selector(".lane-card")
    return opened


def position_s(opened: Studio) -> float:
    return float(opened.page.locator(".position input").input_value())


def test_a_lane_that_is_pressed_while_another_is_paused_is_heard_from_the_same_place(compared: Studio) -> None:
    """It was silent."""
    lanes = compared.page.locator(".lane-card .play")
    lanes.nth(0).click()
    eventually(lambda: position_s(compared) > 1)
    compared.page.locator(".play-main").click()
    compared.page.wait_for_selector(".play-main[aria-label=Play]")
    paused_s = position_s(compared)
    lanes.nth(1).click()
    compared.page.wait_for_selector(".play-main[aria-label=Pause]")
    assert position_s(compared) >= paused_s - 0.1
    lanes.nth(1).click()
    compared.page.wait_for_selector(".play-main[aria-label=Play]")


def test_nothing_names_a_clip_that_is_compared_blind(compared: Studio) -> None:
    """The player wrote its title, and its letters and keys had the order from before."""
    compared.page.locator(".lane-card .play").nth(0).click()
    compared.page.wait_for_selector(".play-main[aria-label=Pause]")
    compared.page.get_by_role("button", name="Blind", exact=True).click()
    assert compared.page.locator(".lane-card.is-current").count() == 0
    compared.page.locator(".lane-card .play").nth(2).click()
    compared.page.wait_for_selector(".play-main[aria-label=Pause]")
    text = compared.page.locator("body").inner_text()
    assert not any(name in text.split() for name in ("one", "two", "three"))
    assert compared.page.locator(".letters [aria-pressed=true]").inner_text() == "C"
    compared.page.keyboard.press("1")
    eventually(lambda: compared.page.locator(".lane-card").nth(0).evaluate("e => e.classList.contains('is-current')"))
    labels = [wave.get_attribute("aria-label")[:23] for wave in compared.page.locator(".lane-card .wave").all()]
    assert labels == [f"Waveform of variation {letter}" for letter in "ABC"]
    compared.page.get_by_role("link", name="Library").first.click()
    compared.page.locator(".now a").wait_for()


@pytest.mark.parametrize("hash", ["#/compare", "#/compare?c=clip_gone"])
def test_nothing_to_compare_leads_to_the_library(studio: OpenStudio, hash: str) -> None:
    opened = studio()
    opened.open(hash)
    opened.page.locator("main").get_by_role("link", name="Library").click()
    opened.page.wait_for_selector(".library")


def test_all_letters_of_eight_variations_are_on_a_narrow_page(studio: OpenStudio) -> None:
    """The first ones lay where no scrolling reached them."""
    opened = studio(viewport=(320, 640))
    opened.make(count=8)
    opened.open()
    opened.page.wait_for_selector(".letters")
    boxes: list[Any] = [letter.bounding_box() for letter in opened.page.locator(".letters button").all()]
    transport = opened.page.locator(".transport").bounding_box()
    assert len(boxes) == 8
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= 320 and box["width"] >= 24 for box in boxes)
    assert transport["y"] + transport["height"] <= 640
    play = opened.page.locator(".play-main").bounding_box()
    assert all(box["y"] >= play["y"] + play["height"] for box in boxes)
