"""Onset rates and loudness of the sections of a known clip."""

import json

import pytest
import torch

from descant.audio import Clip
from descant.errors import InvalidRequest
from descant.studies.timeline_report import measure_timeline, run

RATE_HZ = 22_050


@pytest.fixture(scope="module")
def clip():
    """Eight clicks a second at a tenth of the level, then two a second, then silence: six seconds of each."""
    pytest.importorskip("librosa", reason="librosa")
    time = torch.arange(RATE_HZ // 20) / RATE_HZ
    click = torch.sin(2 * torch.pi * 1_000 * time) * torch.linspace(1, 0, len(time))
    samples = torch.zeros(18 * RATE_HZ)
    for start_s, rate_hz, level in ((0, 8, 0.05), (6, 2, 0.5)):
        for number in range(6 * rate_hz):
            first = round((start_s + (number + 0.3) / rate_hz) * RATE_HZ)
            samples[first : first + len(click)] = level * click
    return Clip(samples=samples[None], sample_rate_hz=RATE_HZ)


TIMELINE = [(0.0, "busy and soft"), (6.0, "sparse and loud"), (12.0, "nothing")]


def test_sections_are_as_busy_and_as_loud_as_they_were_made(clip):
    busy, sparse, silent = measure_timeline(clip, TIMELINE)
    assert busy.onsets_per_second.value == pytest.approx(8, abs=0.5)
    assert sparse.onsets_per_second.value == pytest.approx(2, abs=0.2)
    assert (silent.onsets_per_second.value, silent.loudness_lufs.value) == (0, -70)
    # A tenth of the level is 20 dB, four times as many clicks are 6 dB.
    assert sparse.loudness_lufs.value - busy.loudness_lufs.value == pytest.approx(14, abs=1.5)
    assert (busy.start_s, busy.end_s, silent.end_s, busy.onsets_per_second.count) == (0, 6, 18, 6)


def test_the_report_of_a_file_is_a_table_and_json(clip, tmp_path):
    clip.save(tmp_path / "clip.wav")
    report = run(tmp_path / "clip.wav", TIMELINE, tmp_path / "out")
    assert [section["text"] for section in report["sections"]] == [text for _, text in TIMELINE]
    assert json.loads((tmp_path / "out" / "timeline.json").read_text()) == report
    assert "| 6 to 12 | sparse and loud | 2" in (tmp_path / "out" / "timeline.md").read_text()


@pytest.mark.parametrize(
    ("timeline", "message"),
    [
        ([], "at least one"),
        ([(-1.0, "a")], "before 0"),
        ([(0.0, "a"), (5.0, "b"), (4.0, "c")], "from 5 to 4 s"),
        ([(0.0, "a"), (17.0, "late")], "'late' lasts from 17 to 18 s"),
        ([(0.0, "a"), (30.0, "after the end")], "after the end"),
    ],
)
def test_a_timeline_that_does_not_fit_is_refused(clip, timeline, message):
    with pytest.raises(InvalidRequest, match=message):
        measure_timeline(clip, timeline)
