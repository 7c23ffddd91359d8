import pytest
from hypothesis import given
from hypothesis import strategies as st

from starter_corpus.score import (
    FRAME_SAMPLES,
    TICKS_PER_BEAT,
    Note,
    into_range,
    locked_samples_per_beat,
    release_before_repeat,
    sample_of,
    tile,
)


@given(tick=st.integers(0, 10**6), beats=st.integers(0, 200), frames=st.integers(17, 70))
def test_a_note_one_loop_later_falls_on_the_sample_one_loop_later(tick, beats, frames):
    samples_per_beat = locked_samples_per_beat(frames)
    later = sample_of(tick + beats * TICKS_PER_BEAT, samples_per_beat)
    assert later - sample_of(tick, samples_per_beat) == beats * frames * FRAME_SAMPLES


def test_a_tiled_loop_repeats_its_notes_and_stops_at_the_end():
    loop = [Note(0, 100, 60, 80), Note(500, 700, 64, 80), Note(1_200, 10, 67, 80)]
    tiled = tile(loop, loop_ticks=1_000, num_ticks=2_300)
    assert [note.onset for note in tiled] == [0, 500, 1_000, 1_500, 2_000]


def test_a_key_is_released_before_it_is_struck_again():
    held = [Note(0, 5_000, 60, 80), Note(960, 100, 60, 80), Note(0, 5_000, 64, 80)]
    assert release_before_repeat(held) == (Note(0, 960, 60, 80), Note(0, 5_000, 64, 80), Note(960, 100, 60, 80))


def test_two_strikes_of_one_key_at_once_are_one():
    assert len(release_before_repeat([Note(0, 10, 60, 80), Note(0, 90, 60, 70)])) == 1


@given(pitches=st.lists(st.integers(20, 110), min_size=1), low=st.integers(30, 60))
def test_notes_brought_into_a_range_keep_their_pitch_class(pitches, low):
    notes = tuple(Note(0, 1, pitch, 80) for pitch in pitches)
    moved = into_range(notes, low, low + 24)
    assert all(low <= note.pitch <= low + 24 for note in moved)
    assert [note.pitch % 12 for note in moved] == [pitch % 12 for pitch in pitches]


@pytest.mark.parametrize("frames", [20, 24, 25, 28, 30, 32])
def test_a_locked_beat_is_3000_over_n_beats_per_minute(frames):
    assert 60 * 32_000 / locked_samples_per_beat(frames) == pytest.approx(3_000 / frames)
