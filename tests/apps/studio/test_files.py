"""Files that come and go: music dropped on the page, cards dragged out of it, long clips, the trash."""

import base64
import json
from collections.abc import Callable

import numpy as np
import pytest

import descant
from descant.audio import Clip
from tests.apps.studio.conftest import Studio, eventually
from tests.apps.studio.pacer import RATE_HZ, signal
from tests.apps.studio.playback import FULL_SCALE, sounding, turn_of_a_loop

OpenStudio = Callable[..., Studio]
DROP = """([name, content]) => {
    const bytes = Uint8Array.from(atob(content), (char) => char.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], name));
    const event = new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true });
    document.querySelector(".app").dispatchEvent(event);
}"""
DRAG = """(card) => {
    const dataTransfer = new DataTransfer();
    card.dispatchEvent(new DragEvent("dragstart", { dataTransfer, bubbles: true }));
    return dataTransfer.getData("DownloadURL");
}"""
# The brightest row, counted from the top, in the middle of each of the four seconds of the drawn spectrogram.
BRIGHTEST_ROWS = """() => {
    const drawn = [...document.querySelector(".stage .wave > div").shadowRoot.querySelectorAll("canvas:not([part])")];
    const canvas = drawn.find((one) => one.parentElement.style.zIndex === "4");
    if (canvas === undefined) return null;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const light = (x, y) => [0, 1, 2].reduce((sum, i) => sum + data[4 * (y * canvas.width + x) + i], 0);
    const rows = [...Array(canvas.height).keys()];
    return [0.5, 1.5, 2.5, 3.5].map((second) => {
        const x = Math.round((canvas.width * second) / 4);
        return rows.reduce((best, y) => (light(x, y) > light(x, best) ? y : best), 0);
    });
}"""
LONG_S = 181
# The browser divides samples of 16 bits by 32,767 where they are positive.
A_STEP = 1 / FULL_SCALE


def drop(opened: Studio, name: str, content: bytes) -> None:
    opened.page.evaluate(DROP, [name, base64.b64encode(content).decode()])


@pytest.fixture(scope="module")
def generated() -> Clip:
    model = descant.load("tiny", device="cpu", precision="fp32")
    clip = model.generate("drums", duration_s=0.5, seed=5, timeline=((0.25, "flute"),))
    # So long that the header of a page of Ogg lies within the record.
    return Clip(clip.samples, clip.sample_rate_hz, info={**clip.info, "text": 900 * "☔", "tempo": 90})


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "ogg", "opus", "m4a"])
def test_music_that_is_dropped_opens_with_what_made_it(studio: OpenStudio, generated: Clip, format: str) -> None:
    opened = studio()
    opened.open()
    drop(opened, f"music.{format}", generated.to_bytes(format))
    eventually(lambda: opened.page.input_value("#prompt") == 900 * "☔")
    (recipe,) = [body for _, path, body in opened.server.requests if path == "/v1/recipes/check"]
    request, info = recipe["request"], json.loads(json.dumps(generated.info))
    assert {name: request[name] for name in ("seed", "duration_s", "tempo", "key")} == {
        "seed": 5,
        "duration_s": 0.5,
        "tempo": 90,
        "key": "none",
    }
    assert request["sections"] == [{"start_s": 0.25, "text": "flute"}]
    assert (request["sampling"], request["guidance"]) == (info["sampling"], info["guidance"])
    assert (recipe["model"], recipe["model_fingerprint"]) == (info["model"], info["model_fingerprint"])


def test_a_file_without_a_recipe_says_so(studio: OpenStudio, generated: Clip) -> None:
    opened = studio()
    opened.open()
    drop(opened, "hum.wav", Clip(generated.samples, generated.sample_rate_hz).to_bytes("wav"))
    opened.page.get_by_role("alert").get_by_text("hum.wav has no recipe").wait_for()


def test_a_card_is_dragged_out_as_a_file(made: Studio) -> None:
    kind, name, address = made.page.locator(".card").first.evaluate(DRAG).split(":", 2)
    assert (kind, name) == ("audio/wav", "warm-lo-fi-piano-s11.wav")
    assert made.page.request.get(address).body()[:4] == b"RIFF"


def test_the_trash_is_emptied_after_a_second_press(made: Studio) -> None:
    made.server.clips[0].trashed_at = "2026-11-29T00:00:00Z"
    made.page.goto(f"{made.server.url}/#/server")
    made.page.get_by_role("button", name="Empty the trash").click()
    assert len(made.server.clips) == 4
    made.page.get_by_role("button", name="Delete what is in it for good?").click()
    made.page.get_by_text("1 clip deleted for good.").wait_for()
    assert len(made.server.clips) == 3


@pytest.mark.parametrize("has_midi", [True, False])
def test_notes_can_be_taken_away_where_the_server_finds_them(studio: OpenStudio, has_midi: bool) -> None:
    opened = studio(has_midi=has_midi)
    clip = opened.make().clips[0]
    opened.open(f"#/clip/{clip.id}")
    opened.page.get_by_role("heading", name="Export").wait_for()
    opened.page.get_by_role("link", name="FLAC").first.wait_for()
    links = opened.page.locator(".columns .formats a", has_text="MIDI")
    assert links.count() == has_midi
    opened.page.locator(".clip-head .menu summary").click()
    assert opened.page.locator(".menu[open] .menu-formats a", has_text="MIDI").count() == has_midi
    if has_midi:
        assert links.get_attribute("href") == f"/v1/clips/{clip.id}/midi"


def test_an_earlier_file_is_chosen_again_and_deleted(studio: OpenStudio) -> None:
    opened = studio()
    opened.open()
    chooser = opened.page.locator(".source input[type=file]").first
    for name in ("first.wav", "second.wav", "third.wav"):
        chooser.set_input_files({"name": name, "mimeType": "audio/wav", "buffer": b"RIFF"})
        opened.page.locator(".source-text", has_text=name).wait_for()
        opened.page.get_by_role("button", name="Remove Melody").click()
    opened.page.get_by_label("Choose an earlier file for Melody").click()
    opened.page.locator(".menu[open] .preset", has_text="third.wav").wait_for()
    assert opened.page.locator(".menu[open] .preset").count() == 2
    opened.page.locator(".menu[open]").get_by_label("Show more").click()
    opened.page.locator(".menu[open] .preset button", has_text="first.wav").click()
    opened.page.locator(".source-text", has_text="first.wav").wait_for()
    opened.page.get_by_role("button", name="Generate Ctrl").click()
    ids = list(opened.server.uploads)
    assert eventually(lambda: opened.sent_jobs)[0]["melody"] == {"upload_id": ids[0]}
    opened.page.get_by_label("Choose an earlier file for Continue from").click()
    opened.page.locator(".menu[open]").get_by_label("Show more").click()
    opened.page.locator(".menu[open]").get_by_label("Delete first.wav").click()
    eventually(lambda: list(opened.server.uploads) == ids[1:])
    # It was the melody of the draft.
    opened.page.get_by_label("Choose an earlier file for Melody").wait_for()
    assert opened.page.locator(".menu[open] .preset").count() == 2


def test_a_long_clip_is_heard_from_its_file_and_its_loop_is_exact(studio: OpenStudio) -> None:
    opened = studio()
    opened.make(duration_s=LONG_S, seed=3)
    opened.open()
    opened.page.get_by_role("button", name="Play Variation A").click()
    eventually(opened.has_sound)
    eventually(lambda: len(sounding(opened.recording())) > RATE_HZ)
    heard = sounding(opened.recording())
    whole = signal(LONG_S, 3).astype(np.float32) / FULL_SCALE
    assert np.corrcoef(heard, sounding(whole)[: len(heard)])[0, 1] >= 0.999
    opened.drag_on_stage(0.2, 0.6)
    opened.page.get_by_label("From", exact=True).fill("100.1")
    opened.page.get_by_label("to", exact=True).fill("100.2")
    opened.page.locator(".region-row .button").first.click()
    period, first = round(0.1 * RATE_HZ), round(100.1 * RATE_HZ)

    # The file plays on until the part has been read.
    turn, region = turn_of_a_loop(opened, period, count=4), whole[first : first + period]
    assert min(np.abs(np.roll(region, -shift) - turn).max() for shift in range(period)) <= A_STEP
    assert not any("/stream" in path for _, path, _ in opened.server.requests)


def test_a_long_clip_is_heard_once_a_server_that_was_away_is_back(studio: OpenStudio) -> None:
    """It stayed silent, and nothing said so."""
    opened = studio()
    opened.make(duration_s=LONG_S, seed=3)
    opened.open()
    with opened.page.expect_event("requestfailed", lambda request: "/audio" in request.url):
        opened.server.is_down = True
        opened.page.get_by_role("button", name="Play Variation A").click()
    opened.server.is_down = False
    eventually(opened.has_sound)


def test_the_spectrogram_rises_with_the_pitch(studio: OpenStudio) -> None:
    opened = studio()
    clip = opened.make(seed=0).clips[0]
    opened.open(f"#/clip/{clip.id}")
    opened.page.get_by_role("button", name="Spectrogram").click()
    rows = eventually(lambda: opened.page.evaluate(BRIGHTEST_ROWS))
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] < rows[0]
