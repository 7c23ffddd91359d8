"""The settings of a clip, as people read them: names, and links to the music that it was made from."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.apps.studio.conftest import Studio, eventually

OpenStudio = Callable[..., Studio]


def add_upload(opened: Studio, name: str) -> dict[str, str]:
    sent = {"id": "upl_1", "name": name, "duration_s": 3.0, "created_at": "2026-01-01T00:00:00+00:00"}
    opened.server.uploads["upl_1"] = sent
    return {"upload_id": "upl_1"}


def setting(opened: Studio, name: str) -> Any:
    opened.page.wait_for_selector(".recipe")
    return (
        opened.page.locator(".clip-page .recipe > div")
        .filter(has=opened.page.locator("dt", has_text=name))
        .locator("dd")
    )


def test_a_recipe_names_what_the_music_was_made_from(studio: OpenStudio) -> None:
    """It showed ids."""
    opened = studio()
    source = opened.make("rainy jazz").clips[0]
    source.own["title"] = "Tuesday <b>"
    job = opened.make(
        "techno",
        melody={"clip_id": source.id, "start_s": 0.123456, "end_s": 2},
        style=add_upload(opened, "voice memo.m4a"),
        relation={"clip_id": source.id, "kind": "variation"},
        best_of=2,
        stride_s=5,
        adapters=[{"name": "flutes", "strength": 0.5}],
    )
    # The page does not know the clip from its list of jobs.
    opened.page.route("**/v1/jobs?limit=*", lambda route: route.fulfill(json={"items": [], "next_cursor": None}))
    opened.open(f"#/clip/{job.clips[0].id}")
    melody = setting(opened, "Melody")
    melody.get_by_role("link", name="Tuesday <b>").wait_for()
    assert melody.inner_text() == "Tuesday <b>, from second 0.123, to second 2"
    setting(opened, "Style").get_by_text("voice memo.m4a").wait_for()
    assert setting(opened, "Relation").inner_text() == "Another take of Tuesday <b>"
    text = opened.page.locator("main").inner_text()
    assert "upl_" not in text
    assert "clip_" not in text
    names = opened.page.locator(".clip-page .recipe dt").all_inner_texts()
    assert not any("_" in name for name in names), names
    melody.get_by_role("link").click()
    opened.wait_until(f"location.hash === '#/clip/{source.id}'")
    eventually(lambda: opened.page.get_by_label("Title", exact=True).input_value() == "Tuesday <b>")


def test_a_recipe_says_that_its_sources_were_deleted(studio: OpenStudio) -> None:
    opened = studio()
    job = opened.make("techno", melody={"clip_id": "clip_gone"}, style={"upload_id": "upl_gone"})
    opened.open(f"#/clip/{job.clips[0].id}")
    setting(opened, "Melody").get_by_text("a clip that was deleted").wait_for()
    setting(opened, "Style").get_by_text("a file that was deleted").wait_for()
    opened.page.locator(".family").get_by_text("a clip that was deleted").wait_for()
    assert opened.page.locator(".notice").count() == 0


@pytest.mark.parametrize("kind", ["clip", "upload"])
def test_the_draft_names_its_melody_also_after_a_reload(studio: OpenStudio, kind: str) -> None:
    """It said "audio"."""
    opened = studio()
    clip = opened.make("rainy jazz").clips[0]
    clip.own["title"] = "Tuesday"
    source = {"clip_id": clip.id} if kind == "clip" else add_upload(opened, "Tuesday.wav")
    opened.open()
    opened.page.evaluate(
        "melody => localStorage.setItem('descant-draft', JSON.stringify({ text: 'x', melody }))", source
    )
    opened.page.reload()
    row = opened.page.locator(".source", has_text="Melody")
    eventually(lambda: "Tuesday" in row.inner_text())


def test_the_results_of_a_test_name_no_clip_by_its_id(studio: OpenStudio) -> None:
    opened = studio()
    clip = opened.make("rainy jazz").clips[0]
    opened.server.tests["t"] = {
        "id": "t", "name": "Which?", "kind": "pairs", "question": "Which?", "clip_ids": [clip.id, "clip_gone"],
    }  # fmt: skip
    opened.server.answers.append({"participant": "ann", "trial": 0, "answer": "a"})
    opened.open("#/test")
    opened.page.locator(".results-table").get_by_text("a clip that was deleted").wait_for()
    assert "clip_gone" not in opened.page.locator("main").inner_text()
