"""Where the keyboard goes when what had the focus disappears: to what is next, and never nowhere."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.apps.studio.conftest import Studio, eventually

OpenStudio = Callable[..., Studio]
FOCUSED = """() => {
    const { activeElement, body } = document;
    if (activeElement === body) return "nowhere";
    const item = activeElement.closest("[data-clip], .preset, .panel");
    return (item?.innerText || activeElement.getAttribute("aria-label") || activeElement.innerText).trim();
}"""


def focused(opened: Studio) -> str:
    """The words of the thing that has the focus: a card, an entry of a list, or the control itself."""
    text: str = opened.page.evaluate(FOCUSED)
    return text


def delete_by_keys(opened: Studio, name: str) -> None:
    opened.page.get_by_label(f"More for {name}", exact=True).focus()
    opened.page.keyboard.press("Enter")
    opened.page.get_by_role("button", name=re.compile("^Delete")).focus()
    opened.page.keyboard.press("Enter")


@pytest.fixture
def library(studio: OpenStudio) -> Studio:
    """Cards from the newest: four, three, two, one."""
    opened = studio()
    for name in ("one", "two", "three", "four"):
        opened.make(name)
    opened.open("#/library")
    opened.page.wait_for_selector(".rows .card")
    return opened


def test_the_focus_goes_from_a_clip_that_is_deleted_to_the_next(library: Studio) -> None:
    """It was lost, and Tab began at the top of the page again."""
    cards = library.page.locator(".rows .card")
    for gone, left, goes_to in (("three", 3, "two"), ("one", 2, "two"), ("two", 1, "four")):
        delete_by_keys(library, gone)
        eventually(lambda left=left: cards.count() == left)
        assert goes_to in focused(library)
        assert library.page.evaluate("document.activeElement.matches('summary')")
    delete_by_keys(library, "four")
    eventually(lambda: cards.count() == 0)
    assert focused(library) == "Library"


def test_the_focus_goes_from_several_clips_that_are_deleted_to_the_next(library: Studio) -> None:
    for name in ("four", "three"):
        library.page.locator(".rows .card", has_text=name).locator(".choose").click()
    library.page.locator(".bulk").get_by_role("button", name="Delete").focus()
    library.page.keyboard.press("Enter")
    eventually(lambda: library.page.locator(".rows .card").count() == 2)
    assert "two" in focused(library)


def test_the_focus_goes_from_a_clip_that_is_deleted_elsewhere_to_the_next(library: Studio) -> None:
    library.page.locator(".rows .card", has_text="three").locator(".play").focus()
    library.server.clips[1].trashed_at = "2026-01-01T00:00:00Z"
    library.server.clips[1].version += 1
    eventually(lambda: library.page.locator(".rows .card").count() == 3)
    assert "two" in focused(library)


def test_the_focus_stays_where_there_is_none(library: Studio) -> None:
    library.page.locator("h1").click()
    library.server.clips[1].trashed_at = "2026-01-01T00:00:00Z"
    library.server.clips[1].version += 1
    eventually(lambda: library.page.locator(".rows .card").count() == 3)
    assert focused(library) == "nowhere"


def open_presets(opened: Studio) -> None:
    opened.page.get_by_label("Presets and settings").click()


def open_uploads(opened: Studio) -> None:
    opened.page.get_by_label("Choose an earlier file for Melody").click()


@pytest.mark.parametrize(
    ("hash", "begin", "press", "goes_to"),
    [
        ("#/", open_presets, "Remove preset first", "second"),
        ("#/", open_presets, "Remove preset second", "first"),
        ("#/", open_uploads, "Delete b.wav", "a.wav"),
        ("#/test", None, "Delete the test first", "second"),
        ("#/test", None, "Delete the test second", "first"),
        ("#/", None, "Remove section 1", "Remove section 1"),
        ("#/", None, "Remove section 2", "Remove section 1"),
        ("#/", None, "Remove Melody", "Choose a file for Melody"),
        ("#/", None, "Remove this collection, not its clips", "Newest first"),
    ],
)  # fmt: skip
def test_the_focus_goes_from_an_entry_that_is_removed_to_the_next(
    studio: OpenStudio, hash: str, begin: Callable[[Studio], Any] | None, press: str, goes_to: str
) -> None:
    opened = studio()
    clip = opened.make().clips[0]
    opened.server.presets.update(first={}, second={})
    for name in ("first", "second"):
        opened.server.tests[name] = {"id": name, "name": name, "kind": "pairs", "question": "?", "clip_ids": [clip.id]}
    for name in ("a.wav", "b.wav"):
        sent = {"id": name, "name": name, "duration_s": 3.0, "created_at": "2026-01-01T00:00:00+00:00"}
        opened.server.uploads[name] = sent
    opened.server.collections["kept"] = {"id": "kept", "name": "kept", "clip_ids": [clip.id]}
    opened.page.add_init_script(
        """localStorage.setItem("descant-draft", JSON.stringify({
            melody: { upload_id: "a.wav" }, sections: [{ start_s: 1, text: "x" }, { start_s: 2, text: "y" }] }))"""
        if press.startswith("Remove ")
        else ""
    )
    opened.open("#/library?collection_id=kept" if "collection" in press else hash)
    if begin is not None:
        begin(opened)
    opened.page.get_by_label(press, exact=True).focus()
    opened.page.keyboard.press("Enter")
    eventually(lambda: press not in opened.page.locator("body").inner_html() or press == "Remove section 1")
    opened.page.wait_for_timeout(200)
    assert goes_to.lower() in focused(opened).lower()


def test_the_focus_is_on_the_new_screen_after_a_link(studio: OpenStudio) -> None:
    opened = studio()
    opened.make("rainy jazz")
    opened.open("#/library")
    opened.page.get_by_role("link", name="rainy jazz").first.focus()
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector(".clip-page table")
    assert opened.page.evaluate("document.activeElement.matches('main')")
    opened.page.keyboard.press("f")
    eventually(lambda: opened.server.clips[0].own["favourite"])


def test_the_focus_returns_to_the_button_of_a_menu(studio: OpenStudio) -> None:
    opened = studio()
    opened.make()
    opened.open("#/library")
    menu = opened.page.locator(".card .menu > summary")
    menu.focus()
    opened.page.keyboard.press("Enter")
    opened.page.get_by_role("button", name="Use as melody").focus()
    opened.page.keyboard.press("Enter")
    opened.page.wait_for_selector(".menu[open]", state="detached")
    assert menu.evaluate("menu => menu === document.activeElement")
