"""Loops repeat without a seam, and the position is where it was set, also if the sound begins late."""

import numpy as np
import pytest

from tests.apps.studio.conftest import eventually, real_time
from tests.apps.studio.pacer import BEAT_S, RATE_HZ
from tests.apps.studio.playback import (
    ROUNDING,
    OpenStudio,
    clip_samples,
    press_generate,
    sounding,
    turn_of_a_loop,
    wait_for_end,
)


def test_a_loop_repeats_to_the_sample_without_a_seam(studio: OpenStudio) -> None:
    opened = studio()
    opened.make(duration_s=30, seed=0)
    opened.open()
    opened.page.get_by_role("button", name="Play Variation A").click()
    opened.drag_on_stage(0.2, 0.6)
    opened.page.get_by_label("From", exact=True).fill("1.1")
    opened.page.get_by_label("to", exact=True).fill("1.5")
    opened.page.get_by_role("button", name="Loop", exact=True).last.click()
    period, first = round(0.4 * RATE_HZ), round(1.1 * RATE_HZ)
    turn = turn_of_a_loop(opened, period, count=8)
    region = clip_samples(30, seed=0)[first : first + period]
    rotations = [shift for shift in range(period) if region[shift] == turn[0]]
    assert any((np.roll(region, -shift) == turn).all() for shift in rotations)


# The page waits for a processor while it starts the variation that is switched to.
LATE_SWITCH = """(() => {
  const start = AudioBufferSourceNode.prototype.start;
  let isLate = false;
  addEventListener("keydown", () => (isLate = true), true);
  AudioBufferSourceNode.prototype.start = function (...when) {
    const until = performance.now() + (isLate ? 60 : 0);
    isLate = false;
    while (performance.now() < until);
    start.apply(this, when);
  };
})();"""


@pytest.mark.parametrize("script", ["", LATE_SWITCH])
@real_time
def test_switching_variations_keeps_the_position_without_a_click(studio: OpenStudio, script: str) -> None:
    opened = studio()
    opened.make(duration_s=12, seed=0, count=4)
    opened.page.add_init_script(script)
    opened.open()
    opened.page.get_by_role("button", name="Play Variation A").click()
    eventually(opened.has_sound)

    def heard_s() -> float:
        return len(sounding(opened.recording())) / RATE_HZ

    eventually(lambda: heard_s() > 0.7)
    pressed_at_s = heard_s()
    opened.page.keyboard.press("3")
    eventually(lambda: heard_s() > pressed_at_s + 0.7)
    heard = sounding(opened.recording())
    # The clicks of all variations are on the same beats: their distance shows a jump of the position.
    loud = np.nonzero(np.abs(np.diff(heard)) > 0.1)[0]
    beats = loud[np.insert(np.diff(loud) > 0.1 * RATE_HZ, 0, True)]
    distances_s = np.diff(beats) / RATE_HZ
    assert len(beats) >= 2
    assert np.abs(distances_s - BEAT_S).max() <= 0.010


# The sound is allowed only after all of a clip has come, which ends a while after its last sample.
LATE_SOUND = """(() => {
  const resume = AudioContext.prototype.resume;
  AudioContext.prototype.resume = async function () {
    await new Promise((resolve) => setTimeout(resolve, 400));
    return resume.call(this);
  };
  const read = ReadableStreamDefaultReader.prototype.read;
  ReadableStreamDefaultReader.prototype.read = async function () {
    const part = await read.call(this);
    if (part.done) await new Promise((resolve) => setTimeout(resolve, 200));
    return part;
  };
})()"""


@real_time
def test_where_to_play_can_be_said_before_the_sound_has_begun(studio: OpenStudio) -> None:
    """Keys that moved the position were lost until the browser had begun with the sound."""
    opened = studio()
    opened.make(duration_s=5, seed=0)
    opened.page.add_init_script(LATE_SOUND)
    opened.open()
    opened.page.keyboard.press("Space")
    opened.page.wait_for_selector(".play-main[aria-label=Pause]")
    opened.page.keyboard.press("ArrowRight")
    opened.page.keyboard.press("ArrowRight")
    wait_for_end(opened)
    expected = sounding(clip_samples(5, seed=0)[2 * RATE_HZ :])
    np.testing.assert_allclose(sounding(opened.recording()), expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("script", ["", LATE_SOUND])
def test_a_loop_that_is_chosen_before_the_first_play_repeats(studio: OpenStudio, script: str) -> None:
    """Its button was lit, and the clip played once."""
    opened = studio()
    opened.page.add_init_script(script)
    opened.make(duration_s=1, seed=0)
    opened.open()
    opened.page.wait_for_selector(".stage")
    opened.page.locator(".transport").get_by_role("button", name="Loop").click()
    opened.page.locator(".play-main").click()
    turn_of_a_loop(opened, period=RATE_HZ, count=2)


def test_a_press_outside_of_a_loop_begins_it_anew(studio: OpenStudio) -> None:
    """The browser was asked to start before the loop, which it refused."""
    opened = studio()
    opened.make(duration_s=20, seed=0)
    opened.open()
    opened.drag_on_stage(0.4, 0.5)
    opened.page.locator(".play-main").click()
    opened.page.wait_for_selector(".play-main[aria-label=Pause]")
    opened.page.locator(".transport").get_by_role("button", name="Loop").click()
    eventually(opened.has_sound)
    box = opened.page.locator(".stage .wave").bounding_box()
    opened.page.mouse.click(box["x"] + 0.1 * box["width"], box["y"] + 40)
    opened.page.wait_for_timeout(500)
    assert opened.page.get_by_role("alert").count() == 0
    assert 7 <= float(opened.page.locator(".position input").input_value()) <= 11


def test_all_of_a_clip_that_is_being_made_is_repeated(studio: OpenStudio) -> None:
    """What there was when it was chosen was repeated, while the rest was made in vain."""
    opened = studio(pace=2)
    opened.open()
    press_generate(opened, duration_s=3, seed=3)
    opened.page.wait_for_selector(".play-main[aria-label=Pause]")
    opened.page.locator(".transport").get_by_role("button", name="Loop").click()
    turn_of_a_loop(opened, period=3 * RATE_HZ, count=2)


FRAMES = """async () => {
  const request = window.requestAnimationFrame;
  const frame = () => new Promise((resolve) => request.call(window, resolve));
  let count = 0;
  window.requestAnimationFrame = (callback) => { count += 1; return request.call(window, callback); };
  for (let turn = 0; turn < 20; turn++) await frame();
  window.requestAnimationFrame = request;
  return count / 20;
}"""


def test_seeking_does_not_make_the_page_work_more(studio: OpenStudio) -> None:
    """Each press once added another reading of the position in every frame of the screen, until the next pause."""
    opened = studio()
    opened.make(duration_s=120)
    opened.open()
    opened.page.locator(".card .play").first.click()
    opened.page.wait_for_selector(".play-main[aria-label=Pause]")
    for _ in range(20):
        opened.page.keyboard.press("ArrowRight")
    assert opened.page.evaluate(FRAMES) < 6
