"""What reaches the loudspeakers is the clip, to the sample, however its bytes arrive."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.apps.studio.conftest import eventually, real_time
from tests.apps.studio.pacer import BEAT_S, RATE_HZ, signal

FULL_SCALE = 32_768
OpenStudio = Callable[..., Any]

ROUNDING = 1e-9
"""Of full scale: the browser mixes in float32, and a step of 16 bits is 3e-5."""


def longest_silence_s(samples: NDArray[np.float32]) -> float:
    """Seconds of the longest run of zeros."""
    (sounding,) = np.nonzero(samples)
    return float(np.diff(sounding).max() - 1) / RATE_HZ


def press_generate(studio: Any, is_ready: bool = True, **draft: Any) -> None:
    """Presses once the page is ready, or as soon as it has its field."""
    studio.page.evaluate(
        "draft => localStorage.setItem('descant-draft', JSON.stringify(draft))", {"text": "piano", **draft}
    )
    studio.page.reload()
    if is_ready:
        studio.page.wait_for_selector(".generate[aria-disabled=false]")
    studio.page.focus("#prompt")
    studio.page.keyboard.press("Control+Enter")


def wait_for_end(studio: Any, timeout_s: float = 60) -> None:
    studio.page.wait_for_selector(".play-main[aria-label=Pause]")
    studio.page.wait_for_selector(".play-main[aria-label=Play]", timeout=1_000 * timeout_s)


def sounding(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """From the first sample that is not silent to the last."""
    (indices,) = np.nonzero(samples)
    return samples[indices[0] : indices[-1] + 1]


def turn_of_a_loop(studio: Any, period: int, count: int) -> NDArray[np.float32]:
    """What has been heard last, once it has been heard so often in a row."""

    def repeated() -> list[NDArray[np.float32]]:
        heard = sounding(studio.recording())[-count * period :]
        turns = heard[: len(heard) // period * period].reshape(-1, period)
        return [turns[0]] if len(turns) == count and (turns == turns[0]).all() else []

    eventually(studio.has_sound)
    return eventually(repeated)[0]


def clip_samples(duration_s: float, seed: int) -> NDArray[np.float32]:
    return signal(duration_s, seed).astype(np.float32) / FULL_SCALE


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
