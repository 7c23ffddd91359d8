"""What a musician comes for, with as few presses as the design says, and with keys alone."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.apps.studio.conftest import Studio, eventually

MAX_TABS = 150
COUNTING = "window.presses = 0; window.addEventListener('pointerdown', () => { window.presses += 1; }, true);"
# Where the focus is: the control, or the label that shows it.
HAS_VISIBLE_FOCUS = """() => {
    const element = document.activeElement;
    const shown = element.matches('input[type=radio]') ? element.closest('label') : element;
    const { outlineStyle, outlineWidth } = getComputedStyle(shown);
    return outlineStyle !== 'none' && outlineWidth !== '0px';
}"""

Step = Callable[[Studio], Any]


def press(selector: str) -> Step:
    """A press on the first element of a selector."""
    return lambda studio: studio.page.locator(selector).first.click()


def button(name: str) -> Step:
    return press(f"role=button[name=/^{name}/]")


def link(name: str) -> Step:
    return press(f"role=link[name=/^{name}/]")


def keys(*names: str) -> Step:
    def step(studio: Studio) -> None:
        for name in names:
            studio.page.keyboard.press(name)

    return step


def text(words: str, at: str = "#prompt") -> Step:
    """Writes where the cursor is, without anything being pressed for it."""

    def step(studio: Studio) -> None:
        studio.page.wait_for_selector(f"{at}:focus")
        studio.page.keyboard.type(words)

    return step


def tab_to(selector: str) -> Step:
    """Goes on with Tab to a control, whose focus must be seen."""

    def step(studio: Studio) -> None:
        studio.page.wait_for_selector(selector, state="attached")
        for _ in range(MAX_TABS):
            studio.page.keyboard.press("Tab")
            if studio.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                assert studio.page.evaluate(HAS_VISIBLE_FOCUS), f"the focus of {selector} is not visible"
                return
        raise AssertionError(f"Tab does not reach {selector}")

    return step


def click_wave(studio: Studio) -> None:
    box = studio.page.locator(".stage .wave").bounding_box()
    studio.page.mouse.click(box["x"] + 0.6 * box["width"], box["y"] + 40)
    studio.page.wait_for_selector(".play-main[aria-label=Pause]")


def drag_wave(studio: Studio) -> None:
    studio.drag_on_stage(0.1, 0.55)


def play_for_two_seconds(studio: Studio) -> None:
    keys("Space")(studio)
    studio.page.wait_for_selector(".play-main[aria-label=Pause]")
    keys("ArrowRight", "ArrowRight")(studio)


@dataclass(frozen=True)
class Task:
    """What is done, with how many presses at most, and how one sees that it is done.

    Args:
        is_first: on a page without any music; else there are four variations.
        duration_s: of each.
        screen: where it begins.
    """

    presses: int
    by_pointer: list[Step]
    by_keys: list[Step]
    is_done: Step
    is_first: bool = False
    duration_s: float = 4
    screen: str = "#/"


def last_job(studio: Studio) -> dict[str, Any]:
    return studio.sent_jobs[-1] if studio.sent_jobs else {}


def cards(studio: Studio) -> int:
    return studio.page.locator(".card").count()


def is_seen(*texts: str) -> Step:
    return lambda studio: all(studio.page.get_by_text(text).first.is_visible() for text in texts)


def is_in_another(studio: Studio) -> bool:
    """Whether the third variation sounds from where the first one was."""
    is_third = studio.page.locator(".letters [aria-pressed=true]").inner_text() == "C"
    return is_third and studio.page.locator(".transport .clock").first.inner_text() > "0:01.0"


def loops_whole_bars(studio: Studio) -> bool:
    is_pressed = studio.page.locator(".region-row [aria-pressed=true]").count() == 1
    return (
        is_pressed and re.fullmatch("[1-4] bars?", studio.page.locator(".region-row .muted").inner_text()) is not None
    )


LONG_S = 60
"""Of music that is still playing when a slow machine looks."""
WRITE = text("slow piano")
GENERATE = button("Generate Ctrl")
SEARCH = text("lo-fi", at="#search")
CHOOSE = ".rows .choose:not(.is-lit)"
RADIO = "input[type=radio]"

TASKS = {
    "music from a sentence": Task(
        1,
        [WRITE, GENERATE],
        [WRITE, keys("Control+Enter")],
        lambda studio: last_job(studio).get("text") == "slow piano" and cards(studio) == 1,
        is_first=True,
    ),
    "four variations": Task(
        2,
        [WRITE, press(".choice:has-text('Variations') label:has-text('4')"), GENERATE],
        [WRITE, tab_to(RADIO), keys("ArrowRight", "ArrowRight", "Control+Enter")],
        lambda studio: cards(studio) == 4,
        is_first=True,
    ),
    "the same place in another variation": Task(
        1,
        [play_for_two_seconds, press(".letters >> text=C")],
        [play_for_two_seconds, keys("3")],
        is_in_another,
        duration_s=LONG_S,
    ),
    "keep it": Task(1, [button("Favourite")], [keys("f")], lambda studio: studio.server.clips[0].own["favourite"]),
    "more like it": Task(
        1, [button("More like this")], [keys("r")], lambda studio: "relation" in last_job(studio)
    ),
    "the same seed with other words": Task(
        1,
        [button("Use seed 11 again")],
        [keys("s")],
        lambda studio: studio.page.get_by_label("Seed", exact=True).input_value() == "11",
    ),
    "go on from a place": Task(
        2,
        [click_wave, button("Continue from")],
        [play_for_two_seconds, keys("c")],
        lambda studio: last_job(studio).get("continue_from", {}).get("at_s", 0) >= 2,
    ),
    "a part as the melody": Task(
        3,
        [drag_wave, button("Use as melody"), GENERATE],
        [play_for_two_seconds, keys("]", "m", "Control+Enter")],
        lambda studio: last_job(studio).get("melody", {}).get("end_s", 4) < 4,
    ),
    "whole bars again and again": Task(
        2,
        [drag_wave, press(".region-row .button")],
        [play_for_two_seconds, keys("]", "l")],
        loops_whole_bars,
        duration_s=8,
    ),
    "a loop without a seam": Task(
        2,
        [WRITE, press(".choice:has-text('Loop') label:has-text('4')"), GENERATE],
        [WRITE, tab_to(RADIO), tab_to(RADIO), keys("ArrowRight", "ArrowRight", "Control+Enter")],
        lambda studio: (last_job(studio).get("loop") or {}).get("bars") == 4,
        is_first=True,
    ),
    "other words from a place on": Task(
        2,
        [button("Section here"), text("drums", at=".new-section input"), button("Add")],
        [keys("t"), text("drums", at=".new-section input"), keys("Enter")],
        lambda studio: studio.page.get_by_label("Text of section 1").input_value() == "drums",
    ),
    "find something old": Task(
        1,
        [button("Search the library"), SEARCH],
        [keys("/"), SEARCH],
        lambda studio: any("q=lo-fi" in path for _, path, _ in studio.server.requests) and cards(studio) == 4,
    ),
    "take it away": Task(
        1,
        [link("Download WAV")],
        [keys("d")],
        lambda studio: any("/audio?format=wav" in path for _, path, _ in studio.server.requests),
    ),
    "see what was measured": Task(0, [], [], is_seen("120.4 bpm", "A minor asked C major", "LUFS")),
    "pass the settings on": Task(
        1,
        [button("Copy link with these settings")],
        [tab_to(".take [aria-label='Copy link with these settings']"), keys("Enter")],
        is_seen("Link copied."),
    ),
    "a blind test of two": Task(
        4,
        [press(CHOOSE), press(CHOOSE), link("Blind test"), button("Start and copy its link")],
        [tab_to(CHOOSE), keys("Enter"), tab_to(CHOOSE), keys("Enter"), tab_to(".bulk [href^='#/test']"), keys("Enter"),
         tab_to(".panel .primary"), keys("Enter")],
        lambda studio: studio.server.tests,
        screen="#/library",
    ),
}  # fmt: skip


def begin(studio: Callable[..., Studio], task: Task) -> Studio:
    opened = studio()
    opened.page.add_init_script(COUNTING)
    if not task.is_first:
        opened.make(count=4, seed=11, duration_s=task.duration_s)
    opened.open(task.screen)
    opened.page.wait_for_selector("#prompt:focus" if task.is_first else ".stage, .rows .card")
    return opened


@pytest.mark.parametrize("name", TASKS)
def test_a_task_takes_no_more_presses_than_it_should(studio: Callable[..., Studio], name: str) -> None:
    task = TASKS[name]
    opened = begin(studio, task)
    for step in task.by_pointer:
        step(opened)
    eventually(lambda: task.is_done(opened))
    assert opened.page.evaluate("presses") <= task.presses


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_done_with_keys_alone(studio: Callable[..., Studio], name: str) -> None:
    task = TASKS[name]
    opened = begin(studio, task)
    for step in task.by_keys:
        step(opened)
    eventually(lambda: task.is_done(opened))
    assert opened.page.evaluate("presses") == 0
