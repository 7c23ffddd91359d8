"""What a musician does on the page, by pointer and by keyboard, and whether everyone can."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.apps.studio.conftest import eventually

AXE = Path(__file__).parents[3] / "studio/node_modules/axe-core/axe.min.js"
OpenStudio = Callable[..., Any]


def test_one_press_makes_what_was_written_and_a_double_press_makes_it_once(studio: OpenStudio) -> None:
    opened = studio()
    opened.open()
    opened.page.fill("#prompt", "slow {jazz|funk}")
    opened.page.get_by_role("button", name="Generate", exact=False).first.dblclick()
    jobs = eventually(lambda: len(opened.sent_jobs) == 2 and opened.sent_jobs)
    assert [job["text"] for job in jobs] == ["slow jazz", "slow funk"]
    opened.page.wait_for_selector(".take")
    assert len(opened.sent_jobs) == 2


def test_keys_do_what_the_buttons_do(made: Any) -> None:
    page = made.page
    page.locator("body").click(position={"x": 700, "y": 20})
    clip = made.server.clips[0]
    page.keyboard.press("f")
    eventually(lambda: clip.own["favourite"])
    page.keyboard.press("s")
    assert page.get_by_label("Seed", exact=True).input_value() == "11"
    with page.expect_download() as download:
        page.keyboard.press("d")
    assert download.value.suggested_filename == "clip.wav"
    page.keyboard.press("r")
    again = eventually(lambda: made.sent_jobs)[0]
    assert again["relation"] == {"clip_id": clip.id, "kind": "variation"}
    assert "seed" not in again


def test_a_clip_is_continued_from_the_place_that_was_pressed(studio: OpenStudio) -> None:
    opened = studio()
    clip = opened.make(duration_s=40).clips[0]
    opened.open()
    box = opened.page.locator(".stage .wave").bounding_box()
    opened.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 40)
    opened.page.wait_for_selector(".play-main[aria-label=Pause]")
    opened.page.keyboard.press("c")
    job = eventually(lambda: opened.sent_jobs)[0]
    assert job["continue_from"]["clip_id"] == clip.id
    assert 20 <= job["continue_from"]["at_s"] <= 40
    assert job["duration_s"] == pytest.approx(job["continue_from"]["at_s"] + 10)


def test_a_marked_region_goes_to_whole_bars_and_becomes_the_melody(made: Any) -> None:
    made.drag_on_stage(0.1, 0.55)
    made.page.get_by_role("button", name="Use as melody", exact=True).first.click()
    made.page.keyboard.press("Control+Enter")
    melody = eventually(lambda: made.sent_jobs)[0]["melody"]
    bar_s = 4 * 60 / 120.4
    assert melody["clip_id"] == made.server.clips[-4].id
    assert melody["end_s"] - melody["start_s"] == pytest.approx(bar_s)


def test_what_the_model_cannot_do_says_why(made: Any) -> None:
    button = made.page.get_by_role("button", name="Use as style", exact=True).first
    assert button.get_attribute("aria-disabled") == "true"
    assert "trained without styles" in button.get_attribute("title")


PRESS = """async (key) => {
    document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    for (let turn = 0; turn < 20; turn++) await null;  // what is done before another event, such as the next key
    return document.activeElement.closest("form, dialog, search")?.className ?? null;
}"""


@pytest.mark.parametrize(("key", "goes_to"), [("t", "new-section"), ("/", "filters"), ("?", "help")])
def test_what_is_typed_after_a_key_goes_to_what_it_opens(made: Any, key: str, goes_to: str) -> None:
    """The field had the focus a frame later: the "d" of a section "add drums" downloaded the clip."""
    assert made.page.evaluate(PRESS, key) == goes_to


def test_a_job_that_is_sent_while_the_page_reads_the_list_of_jobs_stays_on_it(studio: OpenStudio) -> None:
    """The list, which did not have it yet, replaced it: a section went to the draft and not to the music."""
    opened = studio(pace=0.1)
    held: list[tuple[Any, Any]] = []
    opened.page.route("**/v1/jobs?limit=*", lambda route: held.append((route, route.fetch())))
    opened.open()
    while not held:
        opened.page.wait_for_timeout(20)
    opened.page.fill("#prompt", "piano")
    opened.page.keyboard.press("Control+Enter")
    opened.page.wait_for_selector(".card progress")
    for route, answer in held:
        route.fulfill(response=answer)
    opened.page.wait_for_selector(".generate[aria-disabled=false]")
    assert opened.page.locator(".card progress").count() == 1


@pytest.mark.parametrize("is_told_late", [False, True])
def test_a_section_changes_music_that_is_being_made(studio: OpenStudio, is_told_late: bool) -> None:
    """At the second that is heard it would come too late: what is made is always ahead of that."""
    opened = studio(pace=1.0)
    if is_told_late:  # the page does not know how much there is
        opened.page.route("**/v1/events*", lambda route: route.abort())
    opened.open()
    opened.page.fill("#prompt", "piano")
    opened.page.keyboard.press("Control+Enter")
    opened.page.wait_for_selector(".card progress")
    job = next(iter(opened.server.jobs.values()))
    eventually(lambda: job.made_s > 1.5)
    opened.page.get_by_role("button", name="Section here").click()
    opened.page.keyboard.type("add drums")
    opened.page.keyboard.press("Enter")
    eventually(lambda: [section["text"] for section in job.request.get("sections", [])] == ["add drums"])
    assert job.request["sections"][0]["start_s"] > job.made_s


def test_what_is_made_for_ever_stops_where_the_server_refuses_it(studio: OpenStudio) -> None:
    """The page once sent the same request again and again, as fast as the server could refuse it."""
    opened = studio()
    opened.open()
    opened.page.fill("#prompt", "piano")
    opened.server.is_full = True
    opened.page.get_by_role("button", name="Generate one after the other").click()
    opened.page.get_by_role("alert").get_by_text("fill the quota").first.wait_for()
    opened.page.wait_for_timeout(500)
    assert len(opened.sent_jobs) == 1


def test_a_link_that_was_cut_off_opens_the_page(studio: OpenStudio) -> None:
    opened = studio()
    opened.open("#/clip/%E2%9")
    opened.page.get_by_role("navigation").first.wait_for()


def test_a_collection_can_be_looked_at_and_removed(studio: OpenStudio) -> None:
    """Collections could only be made."""
    opened = studio()
    for text in ("flute", "harp", "drums"):
        opened.make(text)
    opened.open("#/library")
    page = opened.page
    for text in ("flute", "harp"):
        page.locator(".rows .card", has_text=text).locator(".choose").click()
    page.get_by_label("Name of a collection").fill("scene 3")
    page.get_by_role("button", name="Collect").click()
    page.get_by_label("Collection", exact=True).select_option(label="scene 3")
    cards = page.locator(".rows .card")
    eventually(lambda: cards.count() == 2)
    assert not cards.filter(has_text="drums").count()
    page.reload()
    eventually(lambda: cards.count() == 2)
    assert page.get_by_label("Collection", exact=True).locator("option:checked").inner_text() == "scene 3"
    page.get_by_role("button", name="Remove this collection").click()
    eventually(lambda: cards.count() == 3)
    assert not page.get_by_label("Collection", exact=True).count()
    assert opened.server.collections == {}


def test_a_clip_names_the_chords_that_were_chosen(made: Any) -> None:
    (job,) = made.server.jobs.values()
    made.open(f"#/clip/{job.clips[0].id}")
    assert "Am7 D9" in made.page.get_by_role("row", name="Chords").inner_text()


def test_cancelling_keeps_what_was_made(studio: OpenStudio) -> None:
    opened = studio(pace=0.1)
    opened.open()
    opened.page.fill("#prompt", "piano")
    opened.page.keyboard.press("Control+Enter")
    opened.page.wait_for_function("document.querySelector('.card progress')?.value > 0.6")
    opened.page.get_by_role("button", name="Cancel and keep what was made").click()
    opened.page.get_by_text("stopped at").wait_for()
    assert opened.page.locator(".card .play").get_attribute("aria-disabled") == "false"


def test_old_clips_are_found_and_come_back_from_the_trash(studio: OpenStudio) -> None:
    opened = studio()
    opened.make("rainy jazz")
    opened.make("driving techno")
    opened.open()
    opened.page.wait_for_selector(".stage")
    opened.page.locator("body").click(position={"x": 700, "y": 20})
    opened.page.keyboard.press("/")
    opened.page.wait_for_selector("#search:focus")
    opened.page.keyboard.type("rain")
    opened.page.wait_for_function("document.querySelectorAll('.rows .card').length === 1")
    opened.page.get_by_label("More for rainy jazz").click()
    opened.page.get_by_role("button", name=re.compile("^Delete")).click()
    clip = opened.server.clips[1]
    eventually(lambda: clip.trashed_at is not None)
    opened.page.get_by_role("button", name="Undo").click()
    eventually(lambda: clip.trashed_at is None)


def test_a_link_carries_the_settings_without_the_clipboard_of_secure_pages(studio: OpenStudio) -> None:
    opened = studio()
    opened.make("rainy jazz <b>☔</b>", seed=5)
    opened.page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard', {value: undefined});"
        "document.execCommand = () => { window.copied = document.activeElement.value; return true; };"
    )
    opened.open()
    opened.page.get_by_role("button", name="Copy link with these settings").first.click()
    opened.wait_until("window.copied !== undefined", 60)
    opened.page.goto(opened.page.evaluate("copied"))
    opened.page.reload()
    opened.wait_until("document.querySelector('#prompt').value !== ''", 60)
    assert opened.page.input_value("#prompt") == "rainy jazz <b>☔</b>"
    assert opened.page.get_by_label("Seed", exact=True).input_value() == "5"


def test_the_page_says_that_the_server_is_gone_keeps_the_draft_and_recovers(studio: OpenStudio) -> None:
    opened = studio()
    opened.open()
    opened.page.fill("#prompt", "do not lose me")
    opened.server.is_down = True
    opened.page.locator(".banner").wait_for()
    assert (
        opened.page.get_by_role("button", name="Generate", exact=False).first.get_attribute("aria-disabled") == "true"
    )
    opened.server.is_down = False
    opened.page.locator(".banner").wait_for(state="hidden")
    assert opened.page.input_value("#prompt") == "do not lose me"


def test_a_problem_is_shown_with_what_to_do(studio: OpenStudio) -> None:
    opened = studio()
    opened.open()
    opened.page.evaluate("localStorage.setItem('descant-draft', JSON.stringify({text: 'x', duration_s: 400}))")
    opened.page.reload()
    opened.page.focus("#prompt")
    opened.page.keyboard.press("Control+Enter")
    opened.page.get_by_role("alert").get_by_text("at most 300 s").wait_for()


def test_a_server_with_keys_asks_for_one(studio: OpenStudio) -> None:
    opened = studio(key="secret")
    opened.open()
    opened.page.get_by_label("Key", exact=True).last.fill("secret")
    opened.page.get_by_role("button", name="Open", exact=True).click()
    opened.page.get_by_text("Describe some music").wait_for()


@pytest.mark.parametrize("width", [320, 1_280])
def test_every_menu_lies_on_the_page(studio: OpenStudio, width: int) -> None:
    opened = studio(viewport=(width, 700))
    opened.make(count=2)
    opened.open()
    opened.page.wait_for_selector(".card .menu")
    for menu in opened.page.locator(".menu > summary").filter(visible=True).all():
        menu.scroll_into_view_if_needed()
        menu.click()
        box = opened.page.locator(".menu[open] > .menu-panel").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 700
        opened.page.keyboard.press("Escape")


def test_a_listening_test_is_set_up_and_answered(made: Any) -> None:
    ids = [clip.id for clip in made.server.clips[:2]]
    made.page.goto(f"{made.server.url}/#/test?c={','.join(ids)}")
    made.page.get_by_role("button", name="Start and copy its link").click()
    test_id = eventually(lambda: list(made.server.tests))[0]
    made.page.goto(f"{made.server.url}/#/test/{test_id}")
    made.page.get_by_label("Your name").fill("ann")
    made.page.get_by_role("button", name="Begin").click()
    made.page.get_by_role("button", name="B is better").click()
    made.page.get_by_text("Thank you").wait_for()
    assert made.server.answers == [{"participant": "ann", "trial": 0, "answer": "b"}]


@pytest.mark.parametrize("width", [320, 1_280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_screen_is_accessible(studio: OpenStudio, scheme: str, width: int) -> None:
    if not AXE.is_file():
        pytest.skip("axe-core is not installed: run `make studio`")
    opened = studio(viewport=(width, 800), scheme=scheme)
    job = opened.make(count=2)
    opened.make(count=2)
    ids = [clip.id for clip in job.clips]
    opened.server.tests["test_1"] = {
        "id": "test_1", "name": "Which?", "kind": "pairs", "question": "Which?", "clip_ids": ids,
    }  # fmt: skip
    screens = {
        "#/": ".stage",
        "#/library": ".rows .card",
        f"#/clip/{ids[0]}": ".clip-page table",
        f"#/compare?c={','.join(ids)}": ".lane-card",
        f"#/test?c={','.join(ids)}": ".panel",
        "#/clip/clip_gone": ".empty h1",
        "#/server": ".capabilities",
        "#/test/test_1": ".participant",
    }
    opened.open()
    opened.page.evaluate(AXE.read_text())
    for screen, part in screens.items():
        opened.page.evaluate("screen => { location.hash = screen; }", screen)
        opened.page.wait_for_selector(part)
        if part == ".clip-page table":
            opened.page.get_by_label("Zoom").press("End")
        found = opened.page.evaluate("axe.run().then(({ violations }) => violations)")
        faults = [(one["id"], [node["html"][:120] for node in one["nodes"]]) for one in found]
        assert faults == [], (screen, json.dumps(faults, indent=1))
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), screen
