"""What is typed, seen and chosen outlasts what else happens: events, slow answers, other screens, the way back."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.apps.studio.conftest import Studio, eventually

OpenStudio = Callable[..., Studio]
LONG = "a slow build that begins with a felt piano in a small room, then strings, then a choir, " * 3


def test_words_that_are_being_typed_outlast_the_progress_of_a_job(studio: OpenStudio) -> None:
    """Each event put the old title back, four times a second."""
    opened = studio(pace=0.3)
    clip = opened.make("old words").clips[0]
    opened.server.add({"text": "being made", "duration_s": 60})
    opened.open(f"#/clip/{clip.id}")
    for label, kept in (("Title", "title"), ("Notes", "notes")):
        field = opened.page.get_by_label(label, exact=True)
        field.click()
        opened.page.keyboard.press("Control+a")
        opened.page.keyboard.type("new words", delay=80)
        assert field.input_value() == "new words"
        opened.page.keyboard.press("Tab")
        eventually(lambda kept=kept: clip.own[kept] == "new words")


@pytest.mark.parametrize(("typed", "sent"), [("30", 30), ("1.5", 1.5), ("", 10)])
def test_a_number_is_typed_as_one_likes(studio: OpenStudio, typed: str, sent: float) -> None:
    """An empty field had its default back before one could type: 30 became 1030, and 1.5 became 51."""
    opened = studio()
    opened.open()
    field = opened.page.get_by_label("Duration", exact=True)
    field.press("End")
    field.press("Backspace")
    field.press("Backspace")
    opened.page.keyboard.type(typed)
    assert field.input_value() == typed
    opened.page.keyboard.press("Control+Enter")
    assert eventually(lambda: opened.sent_jobs)[0]["duration_s"] == sent


def test_the_library_stays_as_long_as_it_was_and_where_it_was(studio: OpenStudio) -> None:
    """Whatever changed cut it to its first fifty clips, and so did the way back from one of the others."""
    opened = studio()
    for number in range(120):
        opened.make(f"clip {number}", duration_s=1)
    opened.open("#/library")
    cards = opened.page.locator(".rows .card")
    opened.page.get_by_role("button", name="Show more").click()
    cards.nth(99).wait_for()
    cards.nth(70).get_by_role("button", name="Favourite").click()
    cards.nth(70).get_by_role("button", name="No favourite").wait_for()
    opened.page.wait_for_timeout(600)
    assert cards.count() == 100
    link = cards.nth(70).locator(".card-title a")
    name = link.inner_text()
    link.click()
    opened.page.wait_for_selector(".clip-page table")
    opened.page.go_back()
    opened.page.wait_for_selector(".rows .card")
    assert cards.count() == 100
    box = opened.page.locator(".card-title").get_by_text(name, exact=True).bounding_box()
    assert 0 < box["y"] < 800


def test_the_way_back_does_not_restore_a_link_once_more(studio: OpenStudio) -> None:
    """It replaced what had been written since, and led nowhere else."""
    opened = studio()
    opened.make("words of the link")
    opened.page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard',"
        " {value: {writeText: async (text) => { window.copied = text; }}});"
    )
    opened.open()
    opened.page.get_by_role("button", name="Copy link with these settings").first.click()
    opened.wait_until("window.copied !== undefined")
    hash = opened.page.evaluate("new URL(copied).hash")
    opened.page.evaluate("location.hash = '#/library'")
    opened.page.wait_for_selector(".library")
    opened.page.evaluate("hash => { location.hash = hash; }", hash)
    opened.page.wait_for_function("document.querySelector('#prompt')?.value === 'words of the link'")
    opened.page.fill("#prompt", "my own words")
    opened.page.go_back()
    opened.page.wait_for_selector(".library")
    opened.page.go_forward()
    opened.page.wait_for_selector("#prompt")
    assert opened.page.input_value("#prompt") == "my own words"


def test_a_key_that_is_wrong_is_refused_where_it_is_asked_for(studio: OpenStudio) -> None:
    """The answer lay behind the dialog, and Escape left a page that could do nothing."""
    opened = studio(key="secret")
    opened.open()
    dialog = opened.page.get_by_role("dialog")
    dialog.wait_for()
    for _ in range(3):
        opened.page.keyboard.press("Escape")
    dialog.wait_for()
    dialog.get_by_label("Key", exact=True).fill("wrong")
    dialog.get_by_role("button", name="Open").click()
    dialog.get_by_role("alert").get_by_text("a key is needed").wait_for()
    assert opened.page.locator(".notice").count() == 0


def test_a_participant_is_asked_for_the_key_too(studio: OpenStudio) -> None:
    opened = studio(key="secret")
    opened.open("#/test/test_1")
    opened.page.get_by_label("Key", exact=True).wait_for()


def test_what_is_deleted_is_neither_heard_nor_offered_any_more(studio: OpenStudio) -> None:
    opened = studio()
    clips = opened.make("in the trash", duration_s=60).clips
    clips[0].trashed_at = "2026-01-01T00:00:00Z"
    opened.open("#/library?trashed=true")
    opened.page.locator(".card .play").click()
    opened.page.wait_for_selector(".play-main[aria-label=Pause]")
    opened.page.locator(".card .menu > summary").click()
    opened.page.get_by_role("button", name="Delete for good").click()
    opened.page.wait_for_selector(".play-main[aria-label=Play]")
    opened.page.locator(".card").wait_for(state="detached")


def test_a_variation_in_the_trash_has_no_letter(studio: OpenStudio) -> None:
    opened = studio()
    opened.make(count=3)
    opened.open()
    opened.page.locator(".card .choose").nth(1).click()
    opened.page.locator(".card .choose").nth(2).click()
    opened.page.get_by_role("link", name="Compare 2").wait_for()
    opened.page.locator(".card .menu > summary").nth(1).click()
    opened.page.get_by_role("button", name=re.compile("^Delete")).click()
    eventually(lambda: opened.page.locator(".letters button").count() == 2)
    assert opened.page.get_by_role("link", name="Compare 2").count() == 0
    opened.page.reload()
    eventually(lambda: opened.page.locator(".letters button").count() == 2)


def test_a_double_press_answers_one_question(studio: OpenStudio) -> None:
    """Its second half answered the same question again, or the next one, which nobody had heard."""
    opened = studio()
    ids = [clip.id for clip in opened.make(count=3).clips]
    opened.server.tests["test_1"] = {
        "id": "test_1", "name": "Which?", "kind": "pairs", "question": "Which?", "clip_ids": ids,
    }  # fmt: skip
    opened.open("#/test/test_1")
    opened.page.get_by_label("Your name").fill("ann")
    opened.page.get_by_role("button", name="Begin").click()
    opened.page.get_by_role("button", name="A is better").dblclick()
    opened.page.get_by_text("Question 2 of 3").wait_for()
    opened.page.wait_for_timeout(300)
    assert [answer["trial"] for answer in opened.server.answers] == [0]


def test_the_key_for_a_section_opens_it_from_every_screen(studio: OpenStudio) -> None:
    """It stayed unseen, and took the cursor once the first screen was opened."""
    opened = studio()
    opened.make()
    opened.open()
    opened.page.wait_for_selector(".stage")
    opened.page.get_by_role("link", name="Library").click()
    opened.page.wait_for_selector(".rows .card")
    opened.page.keyboard.press("t")
    opened.page.wait_for_selector(".new-section input:focus")


def test_a_slow_server_leaves_no_doubt_that_a_press_was_noticed(studio: OpenStudio) -> None:
    opened = studio()
    opened.make("found late")
    held: list[Any] = []
    answered: list[Any] = []

    def hold(route: Any) -> None:
        if not answered and (route.request.method == "POST" or "/clips?" in route.request.url):
            held.append(route)
        else:
            route.continue_()

    opened.page.route(re.compile("/v1/(jobs$|clips)"), hold)
    opened.open()
    opened.page.fill("#prompt", "piano")
    opened.page.keyboard.press("Control+Enter")
    opened.page.locator(".generate").get_by_text("Sending").wait_for()
    held.pop().continue_()
    opened.page.locator(".generate").get_by_text("Generate").wait_for()
    opened.page.get_by_role("link", name="Library").click()
    eventually(lambda: held or opened.page.wait_for_timeout(20))
    assert opened.page.get_by_text("Nothing has been made").count() == 0
    answered.append(True)
    for route in held:
        route.continue_()
    opened.page.get_by_role("link", name="found late").wait_for()


@pytest.mark.parametrize(
    ("hash", "text", "way"),
    [
        ("#/library", "Nothing has been made yet", "Make some music"),
        ("#/library?q=nothing", "No clip matches", "Show all clips"),
        ("#/library?trashed=true", "The trash is empty", None),
        ("#/clip/clip_gone", "not here any more", "Library"),
    ],
)
def test_an_empty_screen_says_what_to_do(studio: OpenStudio, hash: str, text: str, way: str | None) -> None:
    opened = studio()
    opened.open(hash)
    opened.page.get_by_text(text).wait_for()
    if way is not None:
        opened.page.locator("main").get_by_role("link", name=way).click()
        opened.page.wait_for_function("before => location.hash !== before", arg=hash)


RECORDER = """
window.recorders = [];
Object.defineProperty(navigator, 'mediaDevices', {value: {getUserMedia: async () => new MediaStream()}});
window.MediaRecorder = class {
  state = 'inactive';
  constructor() { window.recorders.push(this); }
  start() { this.state = 'recording'; }
  stop() { this.state = 'inactive'; this.ondataavailable({data: new Blob(['x'])}); this.onstop(); }
};
"""


def test_the_microphone_is_off_on_other_screens(studio: OpenStudio) -> None:
    """It went on listening, and nothing on the page could stop it."""
    opened = studio()
    opened.page.add_init_script(RECORDER)
    opened.open()
    opened.page.get_by_role("button", name="Hum a melody").click()
    opened.page.get_by_role("button", name="Stop recording").wait_for()
    opened.page.get_by_role("link", name="Library").click()
    opened.page.wait_for_selector(".library")
    assert opened.page.evaluate("recorders.map(({ state }) => state)") == ["inactive"]


def test_long_prompts_with_choices_leave_the_button_on_the_page(studio: OpenStudio) -> None:
    opened = studio()
    opened.open()
    opened.page.fill("#prompt", f"{'x' * 200} {LONG}{{jazz|funk|ska|soul}} with {LONG}")
    opened.page.get_by_text("4 prompts: … jazz … · … funk … · … ska … · … soul …").wait_for()
    box = opened.page.locator(".generate").bounding_box()
    assert box["x"] + box["width"] <= 420
    assert box["y"] + box["height"] <= 740


@pytest.mark.parametrize("width", [320, 640, 1_280])
@pytest.mark.parametrize("text", [LONG, "w" * 300, "🎷🔥" * 80, "موسيقى هادئة مع العود " * 12])
def test_no_words_make_a_page_wider_than_the_screen(studio: OpenStudio, text: str, width: int) -> None:
    opened = studio(viewport=(width, 800))
    ids = [clip.id for clip in opened.make(text, count=8).clips]
    opened.server.tests["test_1"] = {
        "id": "test_1", "name": text[:100], "kind": "pairs", "question": text[:200], "clip_ids": ids,
    }  # fmt: skip
    opened.server.answers.append({"participant": "ann", "trial": 0, "answer": "a"})
    opened.open()
    for hash, part in (
        ("#/", ".stage"),
        ("#/library", ".rows .card"),
        (f"#/clip/{ids[0]}", ".clip-page table"),
        (f"#/compare?c={','.join(ids)}", ".lane-card"),
        (f"#/test?c={','.join(ids)}", ".results-table"),
    ):
        opened.page.evaluate("hash => { location.hash = hash; }", hash)
        opened.page.wait_for_selector(part)
        assert opened.page.evaluate("document.documentElement.scrollWidth <= innerWidth"), hash
        main = "document.querySelector('main')"
        assert opened.page.evaluate(f"{main}.scrollWidth <= {main}.clientWidth"), hash
