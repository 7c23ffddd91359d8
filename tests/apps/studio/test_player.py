"""What reaches the loudspeakers is the clip, to the sample, however its bytes arrive."""

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.apps.studio.conftest import eventually, real_time
from tests.apps.studio.pacer import RATE_HZ
from tests.apps.studio.playback import ROUNDING, OpenStudio, clip_samples, press_generate, sounding, wait_for_end


def longest_silence_s(samples: NDArray[np.float32]) -> float:
    """Seconds of the longest run of zeros."""
    (sounding,) = np.nonzero(samples)
    return float(np.diff(sounding).max() - 1) / RATE_HZ


@pytest.mark.parametrize("chunk_bytes", [1, 7, 4_097])
def test_what_is_heard_is_the_clip_whatever_the_chunks(studio: OpenStudio, chunk_bytes: int) -> None:
    opened = studio(pace=8, chunk_bytes=chunk_bytes)
    opened.open()
    press_generate(opened, duration_s=4, seed=3)
    wait_for_end(opened)
    np.testing.assert_allclose(sounding(opened.recording()), sounding(clip_samples(4, seed=3)), rtol=0, atol=ROUNDING)


# The page waits for a processor just when it starts its first blocks.
LATE_STARTS = """(() => {
  const start = AudioBufferSourceNode.prototype.start;
  let count = 0;
  AudioBufferSourceNode.prototype.start = function (...when) {
    const until = performance.now() + (count++ < 2 ? 60 : 0);
    while (performance.now() < until);
    return start.apply(this, when);
  };
})()"""


def test_blocks_that_are_started_too_late_do_not_sound_over_each_other(studio: OpenStudio) -> None:
    opened = studio(pace=8)
    opened.page.add_init_script(LATE_STARTS)
    opened.open()
    press_generate(opened, duration_s=4, seed=3)
    wait_for_end(opened)
    np.testing.assert_allclose(sounding(opened.recording()), sounding(clip_samples(4, seed=3)), rtol=0, atol=ROUNDING)


@real_time
def test_music_made_at_the_pace_of_its_playing_begins_at_once_and_has_no_gap(studio: OpenStudio) -> None:
    opened = studio(pace=1)
    opened.open()
    press_generate(opened, is_ready=False, duration_s=10, seed=1)
    wait_for_end(opened)
    recording = opened.recording()
    heard, expected = sounding(recording), sounding(clip_samples(10, seed=1))
    assert longest_silence_s(heard) <= 1e-3
    assert len(heard) == len(expected)
    assert np.corrcoef(heard, expected)[0, 1] >= 0.999
    began_at = opened.recording_began_at() + int(np.nonzero(recording)[0][0]) / RATE_HZ
    assert began_at - opened.server.first_chunk_at <= 0.5
    job = next(iter(opened.server.jobs.values()))
    assert job.ends_at - began_at >= 8


@real_time
def test_slow_music_waits_until_it_can_play_to_its_end(studio: OpenStudio) -> None:
    opened = studio(pace=0.4)
    opened.make()
    opened.open()
    press_generate(opened, duration_s=4)
    opened.page.get_by_text("then plays without a pause").wait_for()
    wait_for_end(opened)
    assert longest_silence_s(opened.recording()) <= 1e-3


@real_time
def test_music_of_unknown_speed_that_runs_dry_goes_on_once_it_need_not_stop_again(studio: OpenStudio) -> None:
    opened = studio(pace=0.5)
    opened.open()
    press_generate(opened, duration_s=4)
    opened.page.get_by_text("then plays without a pause").wait_for()
    opened.page.wait_for_function("document.querySelector('.clock').textContent > '0:00.2'")
    opened.page.get_by_text("then plays without a pause").wait_for(state="hidden")
    wait_for_end(opened)
    heard, expected = sounding(opened.recording()), sounding(clip_samples(4, seed=7))
    gap = round(longest_silence_s(heard) * RATE_HZ)
    # The music itself has single samples that are zero, beside a gap or without one.
    assert abs(len(heard) - len(expected) - gap) <= 1


@real_time
def test_slow_music_can_be_played_at_once(studio: OpenStudio) -> None:
    opened = studio(pace=0.2)
    opened.make()
    opened.open()
    press_generate(opened, duration_s=8)
    opened.page.get_by_role("button", name="Play now").click()
    eventually(opened.has_sound)
    *_, job = opened.server.jobs.values()
    assert time.time() < job.ends_at - 4


def test_a_reload_hears_music_in_the_making_from_its_start(studio: OpenStudio) -> None:
    opened = studio(pace=0.2)
    opened.open()
    press_generate(opened, duration_s=6, seed=2)
    opened.page.wait_for_selector(".card progress")
    opened.page.reload()
    opened.page.wait_for_selector(".card:has(progress) .play[aria-disabled=false]")
    opened.page.get_by_role("button", name="Play Variation A").click()
    (job,) = opened.server.jobs.values()
    job.pace = 8  # the rest comes faster than it plays
    wait_for_end(opened)
    np.testing.assert_allclose(sounding(opened.recording()), sounding(clip_samples(6, seed=2)), rtol=0, atol=ROUNDING)


def test_what_is_heard_goes_on_after_the_server_was_away(studio: OpenStudio) -> None:
    """One that was starting answered 503, and the music stayed away for good."""
    opened = studio(pace=2)
    opened.open()
    press_generate(opened, duration_s=8, seed=3)
    eventually(opened.has_sound)
    opened.server.is_down = True
    opened.page.wait_for_timeout(300)
    answers: list[int] = []

    def starting(route: Any) -> None:
        answers.append(503)
        route.fulfill(status=503, body="starting")

    opened.page.route("**/stream?*", starting)
    opened.server.is_down = False
    eventually(lambda: answers or opened.page.wait_for_timeout(20))
    opened.page.unroute("**/stream?*")
    opened.page.wait_for_selector(".play-main[aria-label=Play]")
    heard = opened.recording()
    expected = clip_samples(8, seed=3)
    np.testing.assert_allclose(heard[heard != 0], expected[expected != 0], rtol=0, atol=ROUNDING)


def test_the_rest_of_a_clip_is_awaited_however_long_the_server_is_away(studio: OpenStudio) -> None:
    """After sixteen seconds the page gave up without a word."""
    opened = studio(pace=2)
    opened.page.clock.install()
    opened.open()
    press_generate(opened, duration_s=8, seed=3)
    opened.page.clock.run_for(1_000)
    eventually(opened.has_sound)
    opened.server.is_down = True
    for _ in range(60):
        opened.page.clock.run_for(1_000)
        opened.page.wait_for_timeout(20)
    opened.server.is_down = False

    def at_s() -> float:
        opened.page.clock.run_for(1_000)
        return float(opened.page.locator(".position input").input_value())

    eventually(lambda: opened.page.locator(".banner").count() == 0 or opened.page.clock.run_for(1_000))
    stood = at_s()
    eventually(lambda: at_s() > stood + 1)


def test_reading_ahead_leaves_the_streams_that_play(studio: OpenStudio) -> None:
    """All variations were read at once, and of more than three streams the oldest, which played, was ended."""
    opened = studio()
    ended: list[str] = []
    opened.page.on("requestfailed", lambda request: ended.append(request.url))
    opened.make(duration_s=20, count=8)
    opened.open()
    opened.page.locator(".card .play").first.click()
    opened.page.wait_for_selector(".play-main[aria-label=Pause]")
    sent = opened.server.requests
    eventually(lambda: len({path for _, path, _ in list(sent) if "/stream?" in path}) == 8)
    assert [url for url in ended if "/stream?" in url] == []


BLOCKED = """(() => {
  window.isBlocked = true;
  const resume = AudioContext.prototype.resume;
  AudioContext.prototype.resume = function () { return isBlocked ? new Promise(() => {}) : resume.call(this); };
  const Context = AudioContext;
  window.AudioContext = class extends Context {
    constructor(options) { super(options); if (isBlocked) this.suspend(); }
  };
})()"""


def test_the_button_that_lets_sound_through_goes_once_it_was_pressed(studio: OpenStudio) -> None:
    opened = studio()
    opened.page.add_init_script(BLOCKED)
    opened.make(duration_s=20)
    opened.open()
    opened.page.locator(".card .play").first.click()
    opened.page.locator(".tap").wait_for()
    opened.page.wait_for_timeout(1_000)  # a person is slower than what the page waits for
    opened.page.evaluate("window.isBlocked = false")
    opened.page.locator(".tap").click()
    opened.page.locator(".tap").wait_for(state="hidden", timeout=5_000)


SLOW_LOUDSPEAKER = """(() => {
  const Context = window.AudioContext;
  window.AudioContext = class extends Context {
    constructor(options) { super(options); this.suspend(); }
    async resume() {
      await new Promise((resolve) => setTimeout(resolve, 1_500));
      return super.resume();
    }
  };
})()"""


def test_the_button_that_lets_sound_through_goes_once_there_is_sound(studio: OpenStudio) -> None:
    """Firefox takes a second to open a loudspeaker: the button then stayed, over music that was heard."""
    opened = studio()
    opened.page.add_init_script(SLOW_LOUDSPEAKER)
    opened.make(duration_s=20)
    opened.open()
    opened.page.locator(".card .play").first.click()
    opened.page.locator(".tap").wait_for()
    opened.page.locator(".tap").wait_for(state="hidden", timeout=10_000)
    eventually(opened.has_sound)


def test_music_that_is_waited_for_can_be_stopped(studio: OpenStudio) -> None:
    """The button showed Play, and a press began the same wait again."""
    opened = studio(pace=0.2)
    opened.make()
    opened.open()
    press_generate(opened, duration_s=8)
    opened.page.get_by_role("button", name="Play now").wait_for()
    opened.page.locator(".play-main[aria-label=Pause]").click()
    opened.page.wait_for_selector(".play-main[aria-label=Play]")
    assert opened.page.locator(".waiting").count() == 0
