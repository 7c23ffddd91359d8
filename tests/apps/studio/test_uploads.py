"""Files that take a while to send: how far they are is seen, they can be stopped, and nothing else is lost."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.apps.studio.conftest import Studio, eventually

OpenStudio = Callable[..., Studio]
SIZE = 20_000_000
KINDS = ["Melody", "Continue from"]


def give(opened: Studio, label: str, name: str, size: int = SIZE) -> Any:
    """Gives a file for something; returns its row."""
    row = opened.page.locator(".source", has_text=label)
    file = {"name": name, "mimeType": "audio/wav", "buffer": b"RIFF" + bytes(size)}
    row.locator("input[type=file]").set_input_files(file)
    return row


def slow_studio(studio: OpenStudio, **settings: Any) -> Studio:
    opened = studio(**settings)
    opened.server.reads_bytes_per_s = 5_000_000
    opened.open()
    return opened


def percent(row: Any) -> int:
    found = re.search(r"(\d+) %", row.inner_text())
    return int(found[1]) if found else -1


@pytest.mark.parametrize("label", KINDS)
def test_a_file_that_is_sent_says_how_far_it_is(studio: OpenStudio, label: str) -> None:
    """Nothing was seen until it was there."""
    opened = slow_studio(studio)
    row = give(opened, label, "tune.wav")
    first = eventually(lambda: percent(row) > 0 and percent(row))
    second = eventually(lambda: percent(row) > first and percent(row))
    assert 0 < first < second < 100
    assert "tune.wav" in row.inner_text()
    row.get_by_role("progressbar", name="Part of tune.wav that is sent").wait_for()
    row.get_by_label(f"Remove {label}").wait_for()
    assert len(opened.server.uploads) == 1
    assert percent(row) == -1


def test_a_file_that_is_sent_can_be_stopped_and_what_was_there_before_stays(studio: OpenStudio) -> None:
    opened = slow_studio(studio)
    opened.page.fill("#prompt", "do not lose me")
    row = give(opened, "Melody", "before.wav", 100)
    row.get_by_label("Remove Melody").wait_for()
    drop = "row => { const dataTransfer = new DataTransfer();" \
        f" dataTransfer.items.add(new File([new Uint8Array({SIZE})], 'new.wav'));" \
        " row.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true })); }"  # fmt: skip
    row.evaluate(drop)
    eventually(lambda: percent(row) > 0)
    row.get_by_label("Stop sending new.wav").click()
    row.get_by_text("before.wav").wait_for()
    opened.page.wait_for_timeout(500)
    assert [sent["name"] for sent in opened.server.uploads.values()] == ["before.wav"]
    assert opened.page.locator(".notice").count() == 0
    opened.page.keyboard.press("Control+Enter")
    job = eventually(lambda: opened.sent_jobs)[0]
    assert job["text"] == "do not lose me"
    assert job["melody"] == {"upload_id": next(iter(opened.server.uploads))}


def test_music_is_not_made_without_the_file_that_is_still_sent(studio: OpenStudio) -> None:
    """It was made at once, without the melody."""
    opened = slow_studio(studio)
    opened.page.fill("#prompt", "piano")
    row = give(opened, "Melody", "tune.wav")
    eventually(lambda: percent(row) > 0)
    assert opened.page.locator(".generate").get_attribute("aria-disabled") == "true"
    opened.page.keyboard.press("Control+Enter")
    opened.page.get_by_role("alert").get_by_text("still being sent").wait_for()
    assert opened.sent_jobs == []
    row.get_by_label("Remove Melody").wait_for()
    opened.page.keyboard.press("Control+Enter")
    assert "melody" in eventually(lambda: opened.sent_jobs)[0]


def test_a_file_is_sent_on_while_another_screen_is_looked_at(studio: OpenStudio) -> None:
    opened = slow_studio(studio)
    row = give(opened, "Melody", "tune.wav")
    eventually(lambda: percent(row) > 0)
    opened.page.get_by_role("link", name="Library").click()
    opened.page.wait_for_selector(".library")
    opened.page.get_by_role("link", name="Make").first.click()
    assert percent(row) > 0
    row.get_by_label("Remove Melody").wait_for()


def test_a_file_that_is_too_large_is_not_sent(studio: OpenStudio) -> None:
    opened = slow_studio(studio)
    give(opened, "Melody", "hour.wav", 27_000_000)
    opened.page.get_by_role("alert").get_by_text("hour.wav has 27 MB, and the server takes 26.2 MB at most").wait_for()
    assert not any(path == "/v1/uploads" for _, path, _ in opened.server.requests)


def test_a_file_whose_sending_fails_leaves_the_row_as_it_was(studio: OpenStudio) -> None:
    opened = slow_studio(studio)
    row = give(opened, "Melody", "tune.wav")
    eventually(lambda: percent(row) > 0)
    opened.server.is_down = True
    opened.page.get_by_role("alert").get_by_text("cannot be reached").wait_for()
    row.get_by_label("Choose a file for Melody").wait_for()
