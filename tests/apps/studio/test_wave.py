"""The large wave from near: how much of it is seen, how it is scrolled, and the small map of all of it."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.apps.studio.conftest import Studio, eventually

OpenStudio = Callable[..., Studio]
# The part of wavesurfer.js that scrolls, and the map, which has the same parts within it.
VIEW = """() => {
    const root = document.querySelector(".stage .wave > div").shadowRoot;
    const { scrollLeft, clientWidth, scrollWidth } = root.querySelector(".scroll");
    return { from: scrollLeft, width: clientWidth, whole: scrollWidth };
}"""
MAP = """() => {
    const root = document.querySelector(".stage .wave > div")?.shadowRoot;
    const box = root?.querySelector("[part=minimap]")?.getBoundingClientRect();
    return box === undefined ? null : { x: box.x, y: box.y, width: box.width, height: box.height };
}"""


def view(opened: Studio) -> Any:
    return opened.page.evaluate(VIEW)


def zoom_in(opened: Studio) -> None:
    """To the closest view: a second fills the width."""
    whole = view(opened)["whole"]
    opened.page.get_by_label("Zoom").press("End")
    eventually(lambda: view(opened)["whole"] > 2 * whole)
    opened.page.evaluate("document.activeElement.blur()")


@pytest.fixture
def opened(studio: OpenStudio) -> Studio:
    """The page of a finished clip of four seconds."""
    opened = studio()
    clip = opened.make(seed=0).clips[0]
    opened.open(f"#/clip/{clip.id}")
    opened.page.wait_for_selector(".stage .wave")
    eventually(lambda: view(opened)["width"] > 0)
    return opened


def test_the_closest_view_is_scrolled_by_keys_and_buttons(opened: Studio) -> None:
    far = view(opened)
    assert far["whole"] == far["width"]
    opened.page.keyboard.press("PageDown")
    assert view(opened)["from"] == 0
    zoom_in(opened)
    near = view(opened)
    # It once made the whole page as wide as the wave.
    assert near["width"] == far["width"]
    assert near["whole"] == pytest.approx(4 * near["width"], rel=0.01)
    opened.page.keyboard.press("PageDown")
    eventually(lambda: view(opened)["from"] == pytest.approx(0.9 * near["width"], abs=2))
    opened.page.get_by_role("button", name="Show what is after").click()
    eventually(lambda: view(opened)["from"] == pytest.approx(1.8 * near["width"], abs=2))
    opened.page.get_by_role("button", name="Show what is before").click()
    opened.page.keyboard.press("PageUp")
    eventually(lambda: view(opened)["from"] == 0)
    opened.page.get_by_label("Zoom").press("Home")
    eventually(lambda: view(opened)["whole"] == far["whole"])
    assert opened.page.get_by_role("button", name="Show what is after").count() == 0


def test_the_view_follows_the_playhead_that_keys_move(studio: OpenStudio) -> None:
    opened = studio()
    clip = opened.make(duration_s=60, seed=1).clips[0]  # it plays longer than a slow machine needs to pause it
    opened.open(f"#/clip/{clip.id}")
    zoom_in(opened)
    opened.page.keyboard.press("Space")
    opened.page.wait_for_selector(".play-main[aria-label=Pause]")
    opened.page.keyboard.press("Space")
    for _ in range(3):
        opened.page.keyboard.press("ArrowRight")
    position = opened.page.locator(".position input")
    at_s = eventually(lambda: float(position.input_value()) >= 3 and float(position.input_value()))
    near = view(opened)
    at = at_s / 60 * near["whole"]
    eventually(lambda: view(opened)["from"] - 2 <= at <= view(opened)["from"] + near["width"] + 2)


def test_another_theme_keeps_the_zoom(opened: Studio) -> None:
    zoom_in(opened)
    near = view(opened)
    opened.page.get_by_role("button", name="Theme").click()
    eventually(lambda: view(opened)["whole"] == near["whole"])


def test_only_a_long_clip_has_a_map_and_a_press_on_it_goes_there(studio: OpenStudio) -> None:
    opened = studio()
    short, long = opened.make(seed=0).clips[0], opened.make(duration_s=80, seed=1).clips[0]
    opened.open(f"#/clip/{long.id}")
    box = eventually(lambda: opened.page.evaluate(MAP))
    zoom_in(opened)
    opened.page.mouse.click(box["x"] + 0.75 * box["width"], box["y"] + box["height"] / 2)
    near = view(opened)
    at = 0.75 * near["whole"]
    eventually(lambda: view(opened)["from"] <= at <= view(opened)["from"] + near["width"])
    opened.page.goto(f"{opened.server.url}/#/clip/{short.id}")
    opened.page.wait_for_selector(".wave[aria-label*='4 of 4 seconds']")
    assert opened.page.evaluate(MAP) is None


# Of the columns of a card's wave, how many are taller than a line.
TALL_COLUMNS = """() => {
    const canvas = document.querySelector(".rows .card .wave > div")?.shadowRoot.querySelector("canvas");
    if (!canvas || !canvas.width) return 0;
    const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const inked = (x) => Array.from({ length: height }, (_, y) => data[4 * (y * width + x) + 3]).filter(Boolean);
    return Array.from({ length: width }, (_, x) => inked(x).length).filter((count) => count > height / 4).length;
}"""


def test_the_wave_of_a_clip_that_was_heard_is_drawn_on_the_next_screen(studio: OpenStudio) -> None:
    """Its outline was there at once, and the empty one of a new wave replaced it."""
    opened = studio()
    opened.make()
    opened.open()
    opened.page.locator(".card .play").click()
    opened.page.wait_for_selector(".play-main[aria-label=Pause]")
    opened.page.get_by_role("link", name="Library").first.click()
    opened.page.wait_for_selector(".rows .card .wave")
    eventually(lambda: opened.page.evaluate(TALL_COLUMNS) > 100, 10)
