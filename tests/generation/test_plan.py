"""Which window generates which frames, under which prompt, and on which beat it begins."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.errors import InvalidRequest
from descant.generation.plan import Section, Window, plan_sections, plan_windows
from descant.tempo_key import TempoKey


@settings(max_examples=200, deadline=None)
@given(
    num_frames=st.integers(1, 400),
    known=st.integers(0, 399),
    length=st.integers(1, 60),
    overlap=st.integers(0, 59),
    changes=st.lists(st.integers(1, 400), max_size=4, unique=True),
)
def test_windows_generate_every_frame_once_and_are_never_too_long(num_frames, known, length, overlap, changes):
    overlap, known = min(overlap, length - 1), min(known, num_frames - 1)
    starts = [0, *sorted(change for change in changes if change < num_frames)]
    windows = plan_windows(num_frames, known, length, overlap, [Section(start, str(start)) for start in starts])
    generated = [frame for window in windows for frame in range(window.start, window.end)]
    assert generated == list(range(known, num_frames))
    for window in windows:
        assert 0 <= window.first <= window.start < window.end
        assert window.num_frames <= length
        under = [
            max(index for index, start in enumerate(starts) if start <= frame)
            for frame in (window.start, window.end - 1)
        ]
        assert under == [window.section] * 2
        assert window.first == 0 or window.start - window.first == overlap


def test_music_no_longer_than_a_window_is_one_window():
    assert plan_windows(50, 20, 50, 20, [Section(0, None)]) == [Window(0, 20, 50, 0)]


def test_longer_music_has_overlapping_windows():
    plan = plan_windows(100, 0, 50, 20, [Section(0, None)])
    assert plan == [Window(0, 0, 50, 0), Window(30, 50, 80, 0), Window(60, 80, 100, 0)]


def test_a_new_prompt_begins_with_the_first_frame_at_or_after_its_second():
    sections = plan_sections("a", ((0.14, "b"), (0.141, "c"), (1.0, "d")), 100, 50.0)
    assert [section.start for section in sections] == [0, 7, 8, 50]


def test_the_beat_continues_through_a_new_tempo_and_begins_where_there_was_none():
    timeline = ((2.0, "60 bpm"), (4.0, "calm"), (5.0, "90 bpm"))
    first, second, calm, last = plan_sections("120 bpm", timeline, 10_000, 50.0)
    assert first.beats_before(50, 50.0) == pytest.approx(2.0)
    assert second.beats_before(150, 50.0) == pytest.approx(4.0 + 1.0)
    assert calm.beats_before(225, 50.0) == 0.0
    assert last.beats_before(250, 50.0) == 0.0
    assert last.beats_before(275, 50.0) == pytest.approx(0.75)
    # A window may look back to before its section.
    assert second.beats_before(75, 50.0) == pytest.approx(3.5)


def test_a_prompt_that_states_nothing_has_the_fallback_and_continues_its_beat():
    fallback = TempoKey(bpm=60.0, key=21, is_minor=True)
    timeline = ((2.0, "drums"), (4.0, "90 bpm, in C major"), (5.0, "strings"))
    first, drums, stated, last = plan_sections("calm", timeline, 10_000, 50.0, fallback)
    assert first.tempo_key == drums.tempo_key == last.tempo_key == fallback
    assert drums.beats_before(150, 50.0) == pytest.approx(3.0)
    assert stated.tempo_key == TempoKey(bpm=90.0, key=0, is_minor=False)
    assert last.beats_before(250, 50.0) == pytest.approx(4.0 + 1.5)


def test_two_prompts_in_one_frame_are_refused():
    with pytest.raises(InvalidRequest, match="same frame"):
        plan_sections("a", ((0.141, "b"), (0.142, "c")), 100, 50.0)


def test_a_prompt_that_no_frame_begins_under_is_refused():
    """Music of 10.01 s has 501 frames at 50 Hz, the last of which begins at second 10."""
    assert plan_sections("a", ((10.0, "b"),), 501, 50.0)[-1].start == 500
    with pytest.raises(InvalidRequest, match=r"timeline: no frame of the music begins at or after second 10\.005"):
        plan_sections("a", ((10.005, "b"),), 501, 50.0)
