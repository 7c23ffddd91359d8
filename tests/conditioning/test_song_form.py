"""Phrases return, in any key, and a stretch of the music has the chords of the whole."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from descant.conditioning.chords import parse_chords
from descant.conditioning.song_form import SongForm, bars_of, period_of, transposed
from descant.errors import ConfigError
from descant.tempo_key import NUM_KEYS, beats_per_bar

FORM = SongForm(
    "AABA",
    {"A": bars_of("C|F G7|C|G"), "B": bars_of("Am|Dm7|F|Bb")},
    {"A": bars_of("Cm|Ab|Eb|Bb"), "B": bars_of("Fm|Cm|Fm|G7")},
)
BEATS = st.floats(0, 200)


def test_phrases_return_in_their_order():
    chords = dict(FORM.chords(0.0, 128.0, 4.0, 0))
    assert [chords[beat] for beat in (0.0, 4.0, 6.0, 8.0, 12.0)] == ["C", "F", "G7", "C", "G"]
    assert [chords[first] for first in range(0, 128, 16)] == ["C", "C", "Am", "C"] * 2
    assert len(chords) == 2 * (3 * 5 + 4)


@settings(deadline=None)
@given(BEATS, BEATS, BEATS, st.sampled_from([2.0, 3.0, 4.0, 3.5, 5.0]), st.integers(0, NUM_KEYS - 1))
def test_two_stretches_in_a_row_have_the_chords_of_the_whole(a, b, c, beats, key):
    first, middle, end = sorted([a, b, c])
    whole = FORM.chords(first, end, beats, key)
    parts = FORM.chords(first, middle, beats, key) + FORM.chords(middle, end, beats, key)

    def at(chords, beat):
        return [symbol for start, symbol in chords if start <= beat][-1]

    for share in (0.1, 0.5, 0.9):
        beat = first + share * (end - first)
        if min(abs(beat - edge) for edge in (first, middle, end)) > 0.01:
            assert at(whole, beat) == at(parts, beat)


@settings(deadline=None)
@given(BEATS, BEATS, st.sampled_from([1.0, 2.0, 3.0, 4.0]), st.integers(0, NUM_KEYS - 1))
def test_chords_begin_on_beats_and_at_the_beginning(a, b, beats, key):
    first, end = sorted([a, b])
    starts = [beat for beat, _ in FORM.chords(first, end, beats, key)]
    assert starts[0] == first
    assert all(beat % 1 == 0 or beats == 1.0 for beat in starts[1:])
    assert all(after - before > 5e-4 for before, after in pairwise(starts))
    assert starts[-1] < max(end, first + 1e-9)


@pytest.mark.parametrize("key", range(NUM_KEYS))
def test_a_key_moves_every_root_and_changes_nothing_else(key):
    phrases, tonic = (FORM.minor if key >= 12 else FORM.major), key % 12
    for (_, symbol), (_, in_c) in zip(
        FORM.chords(0.0, 64.0, 4.0, key), FORM.chords(0.0, 64.0, 4.0, 12 * (key >= 12)), strict=True
    ):
        (chord,), (of_c,) = parse_chords(f"{symbol}:0"), parse_chords(f"{in_c}:0")
        assert chord.pitches == {(pitch + tonic) % 12 for pitch in of_c.pitches}
    assert phrases["A"][0] == (transposed(FORM.chords(0.0, 4.0, 4.0, key)[0][1], -tonic),)


def test_a_section_that_begins_within_a_bar_has_the_chord_of_that_moment():
    assert FORM.chords(5.0, 9.0, 4.0, 2) == [(5.0, "G"), (6.0, "A7"), (8.0, "D")]
    assert FORM.chords(7.9999, 9.0, 4.0, 0) == [(7.9999, "C")]


def test_later_chords_of_a_bar_begin_on_its_beats():
    form = SongForm("A", {"A": bars_of("C G")}, {"A": bars_of("Cm Fm")})
    assert [beat for beat, _ in form.chords(0.0, 5.9, 3.0, 0)] == [0.0, 2.0, 3.0, 5.0]
    assert [beat for beat, _ in form.chords(0.0, 1.9, 1.0, 0)] == [0.0, 0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    ("metre", "beats"), [("4/4", 4), ("3/4", 3), ("2/2", 2), ("6/8", 2), ("12/8", 4), ("7/8", 3.5), ("3/8", 1)]
)
def test_beats_of_metres(metre, beats):
    assert beats_per_bar(metre) == beats


@pytest.mark.parametrize(
    ("phrase", "period"), [("C|F|C|F", 2), ("C|C", 1), ("C|F|G|C", 4), ("C|F|C", 3), ("C G|C G|C G|C", 4)]
)
def test_the_period_of_a_phrase(phrase, period):
    assert period_of(bars_of(phrase)) == period


@pytest.mark.parametrize("phrase", ["", "C||F", "C D E", "H|C", "|".join(["C"] * 65)])
def test_phrases_that_cannot_be_read_are_refused(phrase):
    with pytest.raises(ConfigError, match="phrase '"):
        bars_of(phrase)
