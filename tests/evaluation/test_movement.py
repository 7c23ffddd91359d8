"""Holds, chord changes and repetition of music whose content is known."""

import pytest
import torch

from descant.audio import Clip
from descant.errors import InvalidRequest
from descant.evaluation.movement import (
    Movement,
    bar_self_similarity,
    chord_changes_per_minute,
    longest_hold_s,
    measure_movement,
    within_reference,
)
from tests.evaluation.tones import RATE_HZ, clip_of, noise, note, pattern, roll, sequence

SCALE = (60, 62, 64, 65, 67, 69, 71, 72)
C, F, G, AM = (60, 64, 67), (65, 69, 72), (67, 71, 74), (57, 60, 64)
needs_librosa = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("librosa"), reason="librosa is not installed"
)


@pytest.mark.parametrize(
    ("samples", "expected_s"),
    [
        (sequence(SCALE, 0.5), 0.5),
        (sequence(SCALE * 2, 0.5), 1.0),  # from the upper C to the lower one
        (sequence([C, F, G, AM], 2.0), 2.0),
        (torch.cat([sequence(SCALE, 0.5), note(67, 4.0), sequence(SCALE[:4], 0.5)]), 4.0),
        (note(60, 8.0), 8.0),
        (sum(note(pitch, 8.0) for pitch in C), 8.0),
    ],
    ids=["scale", "scale, twice", "chords", "one long note", "only one note", "only one chord"],
)
def test_the_longest_note_or_chord_is_found(samples, expected_s):
    assert longest_hold_s(clip_of(samples)) == pytest.approx(expected_s, abs=0.35)


def test_a_note_that_is_repeated_is_held():
    assert longest_hold_s(clip_of(sequence([64] * 20, 0.4, decay_per_s=4))) == pytest.approx(8, abs=0.3)


@pytest.mark.parametrize("gain", [0.25, 1, 2])
def test_a_drone_under_a_melody_is_no_hold(gain):
    melody = sequence([pitch + 12 for pitch in SCALE] * 2, 0.5)
    assert longest_hold_s(clip_of(gain * note(48, 8.0) + melody)) < 1.2


def test_a_chord_under_a_melody_is_no_hold():
    melody = sequence([74, 77, 81, 77] * 4, 0.5)
    assert longest_hold_s(clip_of(sum(note(pitch, 8.0) for pitch in C) + melody)) < 1.2


def test_drums_are_no_hold_and_end_none():
    assert longest_hold_s(clip_of(roll(8.0))) is None
    assert longest_hold_s(clip_of(noise(8.0))) is None
    assert longest_hold_s(clip_of(note(60, 8.0) + 0.3 * pattern((0, 0.25, 0.5, 0.75), 2.0, 8.0))) > 7
    assert longest_hold_s(clip_of(sequence(SCALE * 2, 0.5) + 0.3 * roll(8.0))) < 1


def test_silence_ends_a_hold():
    pause = torch.zeros(RATE_HZ)
    assert longest_hold_s(clip_of(torch.cat([note(60, 3.0), pause, note(60, 4.0)]))) == pytest.approx(4, abs=0.35)


@pytest.mark.parametrize(
    ("chords", "each_s", "per_minute"),
    [([C, F, G, C], 2.0, 3 * 60 / 8), ([C, F] * 4, 1.0, 7 * 60 / 8), ([C, AM] * 2, 2.0, 3 * 60 / 8), ([C] * 4, 2.0, 0)],
)
def test_chord_changes_are_counted(chords, each_s, per_minute):
    clip = clip_of(sequence(chords, each_s) + 0.2 * roll(8.0))
    assert chord_changes_per_minute(clip) == pytest.approx(per_minute, abs=0.1)


def test_passing_notes_are_no_chord_changes():
    arpeggio = sequence([note for chord in (C, F) for note in (*chord, *chord) * 2], 1 / 3)
    assert chord_changes_per_minute(clip_of(arpeggio)) == pytest.approx(60 / 8, abs=0.1)


@pytest.mark.parametrize("bar_s", [1.2, 2.0, 3.1])
def test_a_rhythm_resembles_itself_after_a_bar_and_not_in_between(bar_s):
    clip = clip_of(pattern((0, 0.2, 0.55, 0.7), bar_s, 5 * bar_s) + 0.01 * noise(5 * bar_s, seed=9))
    assert bar_self_similarity(clip, bar_s) > 0.8
    assert bar_self_similarity(clip, 1.25 * bar_s) < 0.4
    assert bar_self_similarity(clip) > 0.8


def test_irregular_strokes_resemble_nothing():
    places = torch.rand(20, generator=torch.Generator().manual_seed(0)).tolist()
    assert bar_self_similarity(clip_of(pattern(places, 10.0, 10.0)), 2.0) < 0.4


def test_a_clip_of_less_than_two_bars_has_no_repetition():
    assert bar_self_similarity(clip_of(pattern((0, 0.5), 2.0, 4.0)), 2.1) is None
    with pytest.raises(InvalidRequest, match="bar_s=0"):
        bar_self_similarity(clip_of(noise(4.0)), 0.0)
    # Of any noise it was 1: nothing has changed after a hundredth of a second.
    with pytest.raises(InvalidRequest, match=r"bar_s=0\.01"):
        bar_self_similarity(clip_of(noise(4.0)), 0.01)


@needs_librosa
def test_movement_does_not_depend_on_loudness_channels_or_sample_rate():
    music = clip_of(sequence([C, F, G, AM], 2.0) + 0.5 * pattern((0, 0.25, 0.5), 2.0, 8.0))
    expected = measure_movement(music, 2.0)
    for same in (music * 0.01, music.to_channels(2), music.resample(44_100)):
        measured = measure_movement(same, 2.0)
        assert measured.longest_hold_s == pytest.approx(expected.longest_hold_s, abs=0.1)
        assert measured.chord_changes_per_minute == expected.chord_changes_per_minute
        assert measured.onsets_per_second == pytest.approx(expected.onsets_per_second, abs=0.2)
        assert measured.bar_self_similarity == pytest.approx(expected.bar_self_similarity, abs=0.02)


@needs_librosa
def test_silence_does_not_move():
    silence = Clip(samples=torch.zeros(2, 5 * RATE_HZ), sample_rate_hz=RATE_HZ)
    assert measure_movement(silence) == Movement(
        longest_hold_s=None, chord_changes_per_minute=None, onsets_per_second=0.0, bar_self_similarity=None
    )


def test_a_clip_under_two_seconds_is_refused():
    with pytest.raises(InvalidRequest, match="from 2 s on"):
        measure_movement(clip_of(note(60, 1.9)))


def movement(hold_s, onsets=2.0):
    return Movement(
        longest_hold_s=hold_s, chord_changes_per_minute=None, onsets_per_second=onsets, bar_self_similarity=0.5
    )


def test_a_value_is_placed_among_those_of_the_reference():
    reference = [movement(float(hold_s)) for hold_s in range(101)] + [movement(None)]
    placed = within_reference(movement(50.0, onsets=9.0), reference)
    assert set(placed) == {"longest_hold_s", "onsets_per_second", "bar_self_similarity"}
    assert placed["longest_hold_s"].percentile == pytest.approx(50)
    assert placed["longest_hold_s"].is_typical
    assert placed["onsets_per_second"].percentile == 100
    assert not placed["onsets_per_second"].is_typical
    assert placed["bar_self_similarity"].percentile == 50


@pytest.mark.parametrize(("hold_s", "is_typical"), [(4.0, False), (5.0, True), (95.0, True), (96.0, False)])
def test_values_from_the_5th_to_the_95th_percentile_are_typical(hold_s, is_typical):
    reference = [movement(float(known_s)) for known_s in range(101)]
    assert within_reference(movement(hold_s), reference)["longest_hold_s"].is_typical == is_typical


def test_a_small_reference_is_refused():
    with pytest.raises(InvalidRequest, match="1 reference clips have longest_hold_s"):
        within_reference(movement(1.0), [movement(1.0), movement(None)])
