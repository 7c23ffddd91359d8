"""The studio on the real service, in one or two tabs: what is done in one, or by a program, is seen in the others."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.apps.server.conftest import Running, serving, wav
from tests.apps.studio.conftest import WAIT_MS, Studio, eventually


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path, pace=20.0) as running:
        yield running


class Tabs:
    """Two pages of one browser."""

    def __init__(self, service: Running, visit: Any) -> None:
        self.service = service
        self.url = f"http://127.0.0.1:{service.port}"
        self.first: Studio = visit(self.url)
        page = self.first.page.context.new_page()
        page.set_default_timeout(WAIT_MS)
        self.second = Studio(self.url, page, None)

    def open(self, hash: str, part: str = ".rows .card") -> None:
        for tab in (self.first, self.second):
            tab.open(hash)
            tab.page.wait_for_selector(part)


@pytest.fixture
def tabs(service: Running, visit: Any) -> Tabs:
    return Tabs(service, visit)


def names(tab: Studio) -> list[str]:
    return [text.strip() for text in tab.page.locator(".rows .card .card-title a").all_inner_texts()]


def test_a_favourite_and_a_title_are_seen_in_the_other_tab(tabs: Tabs) -> None:
    clip = tabs.service.clip(text="flute")
    tabs.open("#/library")
    tabs.first.page.get_by_label("Favourite", exact=True).click()
    tabs.second.page.get_by_label("No favourite any more").wait_for()
    tabs.first.open(f"#/clip/{clip['id']}")
    tabs.first.page.get_by_label("Title", exact=True).fill("Tuesday")
    tabs.first.page.keyboard.press("Tab")
    tabs.second.page.get_by_role("link", name="Tuesday").wait_for()


def test_tags_of_one_tab_are_not_overwritten_by_the_other(tabs: Tabs) -> None:
    """The other tab kept what it had read at first, and stored that again when its field was left."""
    clip = tabs.service.clip(text="flute")
    tabs.open(f"#/clip/{clip['id']}", ".clip-page table")
    tags = [tab.page.get_by_label("Tags", exact=True) for tab in (tabs.first, tabs.second)]
    tags[0].fill("slow, blue")
    tags[0].press("Tab")
    eventually(lambda: tags[1].input_value() == "slow, blue")
    tags[1].focus()
    tags[1].press("Tab")
    tags[1].fill("slow, blue, long")
    tags[1].press("Tab")
    eventually(lambda: tags[0].input_value() == "slow, blue, long")
    assert tabs.service.client.get(f"/v1/clips/{clip['id']}").json()["tags"] == ["slow", "blue", "long"]


def test_what_is_made_in_one_tab_is_seen_in_the_other_at_once(tabs: Tabs) -> None:
    tabs.service.clip(text="flute")
    tabs.open("#/library")
    tabs.first.open("#/")
    tabs.first.page.wait_for_selector(".generate[aria-disabled=false]")
    tabs.first.page.fill("#prompt", "harp")
    tabs.first.page.get_by_label("Duration", exact=True).fill("60")
    tabs.first.page.keyboard.press("Control+Enter")
    tabs.second.page.locator(".rows .card", has_text="harp").locator("progress").wait_for()
    assert names(tabs.second) == ["harp", "flute"]


def test_what_is_deleted_in_one_tab_is_gone_from_the_other(tabs: Tabs) -> None:
    """It could still be compared there, and the next clip could not be gone to."""
    made = {text: tabs.service.clip(text=text) for text in ("one", "two", "three")}
    tabs.open("#/library")
    second = tabs.second.page
    for name in ("one", "two"):
        second.locator(".rows .card", has_text=name).locator(".choose").click()
    second.get_by_role("link", name="Compare 2").wait_for()
    second.locator(".rows .card", has_text="three").locator(".play").click()
    second.locator(".rows .card.is-current", has_text="three").wait_for()
    tabs.first.page.get_by_label("More for two", exact=True).click()
    tabs.first.page.get_by_role("button", name="Delete").click()
    eventually(lambda: names(tabs.second) == ["three", "one"])
    assert second.get_by_role("link", name="Compare 2").count() == 0
    second.get_by_role("button", name="Next variation").click()
    second.locator(".rows .card.is-current", has_text="one").wait_for()
    tabs.first.page.get_by_role("button", name="Undo").click()
    eventually(lambda: names(tabs.second) == ["three", "two", "one"])
    assert tabs.service.client.get(f"/v1/clips/{made['two']['id']}").json()["trashed_at"] is None


def test_the_page_of_a_clip_that_is_deleted_says_so_and_brings_it_back(tabs: Tabs) -> None:
    """It said "Connecting" for ever."""
    clip = tabs.service.clip(text="flute")
    tabs.open(f"#/clip/{clip['id']}", ".clip-page table")
    tabs.first.page.locator(".clip-head .menu summary").click()
    tabs.first.page.get_by_role("button", name="Delete").click()
    for tab in (tabs.first, tabs.second):
        tab.page.get_by_text("This clip is in the trash").wait_for()
    tabs.second.page.get_by_role("button", name="Restore").click()
    for tab in (tabs.first, tabs.second):
        tab.page.get_by_text("This clip is in the trash").wait_for(state="detached")
        tab.page.wait_for_selector(".clip-page table")
    tabs.service.client.delete(f"/v1/clips/{clip['id']}?forever=true")
    for tab in (tabs.first, tabs.second):
        tab.page.get_by_text("not here any more").wait_for()


def test_collections_presets_and_tests_of_one_tab_are_seen_in_the_other(tabs: Tabs) -> None:
    """Each tab kept the lists that it had read at first."""
    clips = [tabs.service.clip(text=text) for text in ("one", "two")]
    first, second = tabs.first.page, tabs.second.page
    tabs.open("#/library")
    first.locator(".rows .card", has_text="one").locator(".choose").click()
    first.get_by_label("Name of a collection").fill("Scene 3")
    first.get_by_role("button", name="Collect").click()
    chooser = second.get_by_label("Collection", exact=True)
    chooser.select_option(label="Scene 3")
    eventually(lambda: names(tabs.second) == ["one"])

    tabs.open("#/", "#prompt")
    for tab in (first, second):
        tab.get_by_label("Presets and settings").click()
    first.get_by_label("Keep these settings as").fill("lo-fi")
    first.get_by_role("button", name="Keep").click()
    second.get_by_role("button", name="lo-fi", exact=True).wait_for()
    tabs.service.client.delete("/v1/presets/lo-fi")
    for tab in (first, second):
        tab.get_by_role("button", name="lo-fi", exact=True).wait_for(state="detached")

    tabs.open("#/test", "main.page h1")
    given = {"name": "Which one?", "kind": "rating", "clip_ids": [clip["id"] for clip in clips]}
    test = tabs.service.client.post("/v1/listening-tests", json=given).json()
    url = f"/v1/listening-tests/{test['id']}"
    for tab in (first, second):
        tab.get_by_role("heading", name="Which one?").wait_for()
    answer = {"participant": "ann", "trial": 0, "answer": 4}
    tabs.service.client.post(f"{url}/answers", json=answer).raise_for_status()
    for tab in (first, second):
        tab.get_by_text("1 answer").wait_for()


def test_an_upload_that_another_tab_deletes_is_not_offered_any_more(tabs: Tabs) -> None:
    sent = tabs.service.client.post("/v1/uploads", files={"file": ("hum.wav", wav())}).json()
    tabs.open("#/", "#prompt")
    page = tabs.first.page
    page.get_by_label("Choose an earlier file for Melody").click()
    page.get_by_role("button", name="hum.wav", exact=False).first.wait_for()
    tabs.service.client.delete(f"/v1/uploads/{sent['id']}")
    page.get_by_role("button", name="hum.wav", exact=False).first.wait_for(state="detached")


def test_results_are_shown_while_some_clips_are_not_judged_yet(tabs: Tabs) -> None:
    """The whole page failed."""
    clips = [tabs.service.clip(text=text)["id"] for text in ("one", "two")]
    given = {"name": "Which one?", "kind": "rating", "clip_ids": clips}
    test = tabs.service.client.post("/v1/listening-tests", json=given).json()
    answer = {"participant": "ann", "trial": 0, "answer": 4}
    tabs.service.client.post(f"/v1/listening-tests/{test['id']}/answers", json=answer).raise_for_status()
    tabs.first.open("#/test")
    rows = tabs.first.page.locator(".results-table tbody tr")
    rows.nth(1).wait_for()
    assert "4.0" in rows.nth(0).inner_text()
    assert "not judged yet" in rows.nth(1).inner_text()
