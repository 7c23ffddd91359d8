"""The page in a real browser, from a file and by keyboard alone."""

import time

import pytest

from descant.studies.listening.build import build_test
from descant.studies.listening.files import read_answers, read_key
from descant.studies.listening.sources import find_trials
from tests.studies.listening.browser import PROGRAM, Browser

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="chromium is not installed")

SCALES = ("overall", "relevance", "melody")
MESSAGE = "document.getElementById('message').textContent"
TITLE = "document.getElementById('trial-title').textContent"
PLAYED = "document.getElementById('heard').textContent === 'Played to the end.'"


@pytest.fixture
def browser(tmp_path):
    browser = Browser(tmp_path)
    yield browser
    browser.close()


@pytest.fixture
def short_test(folders, tmp_path):
    """A test of four short clips, two of which have a melody."""
    systems = {name: folders[name] for name in ("zebra", "yak")}
    trials = [trial for trial in find_trials(systems, melodies=folders["melodies"])[0] if trial.prompt != "three"]
    build_test(tmp_path / "test", trials, duration_s=0.4, num_repeats=0, num_anchors=0)
    return tmp_path / "test"


def url(folder, listener: str) -> str:
    return f"{(folder / 'page' / 'index.html').as_uri()}?listener={listener}"


def press(browser: Browser, id: str, key: str = "Enter") -> None:
    browser.tab_to(id)
    browser.press(key)


def rate_all(browser: Browser) -> None:
    """Plays and rates the clip on the page, and goes on."""
    press(browser, "play")
    browser.wait_for(PLAYED)
    for scale in SCALES:
        if browser.value(f"document.getElementById('rate-{scale}') !== null"):
            press(browser, f"rate-{scale}", "ArrowRight")
    press(browser, "next")


def order_of(browser: Browser) -> list[str]:
    return browser.value("order.map((clip) => clip.name)")


def test_a_listener_goes_from_the_first_clip_to_a_file_of_answers(browser, short_test):
    browser.open(url(short_test, "anna"))
    press(browser, "begin")
    assert browser.value(TITLE) == "Clip 1 of 4"

    press(browser, "next")
    assert "play the clip to its end, and rate overall quality, and rate relevance" in browser.value(MESSAGE)
    press(browser, "rate-overall", "ArrowRight")
    press(browser, "rate-relevance", "ArrowRight")
    press(browser, "next")
    assert "play the clip to its end" in browser.value(MESSAGE)
    assert browser.value(TITLE) == "Clip 1 of 4"

    rate_all(browser)
    assert browser.value(TITLE) == "Clip 2 of 4"
    order = order_of(browser)
    browser.open(url(short_test, "anna"))
    assert browser.value("document.getElementById('begin').textContent") == "Continue"
    press(browser, "begin")
    assert browser.value(TITLE) == "Clip 2 of 4"
    for _ in range(3):
        rate_all(browser)

    assert not browser.value("document.getElementById('end').hidden")
    press(browser, "save")
    file = browser.downloads / "answers-anna.json"
    until = time.monotonic() + 30
    while not file.exists() and time.monotonic() < until:
        time.sleep(0.05)
    [answers] = read_answers(read_key(short_test), [file])
    assert answers.listener == "anna"
    assert [answer.clip for answer in answers.answers] == order
    assert sorted(answer.melody is not None for answer in answers.answers) == [False, False, True, True]
    assert all(answer.overall in (51, 52) and answer.plays == 1 for answer in answers.answers)

    requested = [
        event["params"]["request"]["url"] for event in browser.events if "requestWillBeSent" in event["method"]
    ]
    assert requested
    assert [address for address in requested if not address.startswith(("file:", "blob:"))] == []
    assert [event for event in browser.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")] == []


def test_the_order_depends_on_the_listener_alone(browser, short_test):
    orders = {}
    for listener in ("anna", "boris", "chen", "dora", "eli", "anna"):
        browser.open(url(short_test, listener))
        order = order_of(browser)
        assert orders.setdefault(listener, order) == order
    assert len({tuple(order) for order in orders.values()}) >= 3


def test_a_clip_that_was_jumped_through_was_not_played(browser, short_test):
    browser.open(url(short_test, "anna"))
    press(browser, "begin")
    press(browser, "play")
    browser.wait_for("audio.duration > 0")
    browser.value("audio.currentTime = audio.duration - 0.02")
    browser.wait_for("playing === null")
    assert not browser.value(PLAYED)


def test_every_control_has_a_label_and_both_themes_have_their_colours(browser, short_test):
    browser.open(url(short_test, "anna"))
    press(browser, "begin")
    unnamed = (
        "[...document.querySelectorAll('button, input')].filter((one) => !(one.labels?.length || one.textContent))"
    )
    assert browser.value(f"{unnamed}.length") == 0
    colours = []
    for theme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        colours.append(browser.value("getComputedStyle(document.body).color"))
    assert colours == ["rgb(0, 0, 0)", "rgb(255, 255, 255)"]
