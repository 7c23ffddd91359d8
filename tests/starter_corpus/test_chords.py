import random

import pytest

from descant.errors import ConfigError
from starter_corpus.chords import MAJOR_SCALE, chord_of, key_name, scale_of
from starter_corpus.harmonize import harmonize
from starter_corpus.melody import melody
from starter_corpus.progressions import FAMILIES, VALID_PROGRESSIONS, progressions
from starter_corpus.score import TICKS_PER_BEAT, Note
from starter_corpus.spans import Metre, spans_of
from starter_corpus.textures import TEXTURES

FOUR = Metre(beats_per_bar=4)


@pytest.mark.parametrize(
    ("numeral", "tonic", "symbol"),
    [("I", 0, "C"), ("V7", 7, "D7"), ("bVI", 9, "F"), ("iim7b5", 9, "Bm7b5"), ("#idim7", 0, "C#dim7"), ("vi", 3, "Cm")],
)
def test_a_numeral_means_this_chord_in_this_key(numeral, tonic, symbol):
    assert chord_of(numeral, tonic).symbol == symbol


@pytest.mark.parametrize("numeral", ["H", "Ix", "", "viii"])
def test_an_invalid_numeral_is_refused(numeral):
    with pytest.raises(ConfigError, match="chord"):
        chord_of(numeral, 0)


def test_every_progression_is_readable_in_every_key_and_two_to_sixteen_bars_long():
    for family in FAMILIES.values():
        for progression in family:
            assert 2 <= len(progression.bars) <= 16
            for tonic in range(12):
                assert all(chord.pitch_classes for bar in progression.in_key(tonic) for chord in bar)


def test_train_and_valid_share_no_progression_and_both_have_some_in_every_family_and_mode():
    for family in FAMILIES:
        for is_minor in (False, True):
            train = progressions(family, is_minor=is_minor, split="train")
            valid = progressions(family, is_minor=is_minor, split="valid")
            assert train
            assert valid
            assert not {p.name for p in train} & {p.name for p in valid}
            assert {p.name for p in valid} <= VALID_PROGRESSIONS


def test_major_and_minor_are_named_after_their_keynote():
    assert key_name(9, True) == "A minor"
    assert scale_of(0, False) == MAJOR_SCALE


@pytest.mark.parametrize("name", sorted(TEXTURES))
@pytest.mark.parametrize("metre", [FOUR, Metre(beats_per_bar=3), Metre(beats_per_bar=2, is_compound=True)])
def test_a_texture_plays_equal_bars_equally_and_keeps_to_the_chord(name, metre):
    bars = ((chord_of("vi", 0),), (chord_of("IV", 0),)) * 2
    notes = TEXTURES[name](spans_of(bars, metre), metre)
    half = 2 * metre.bar_ticks
    first = {note for note in notes if note.onset < half}
    second = {Note(n.onset - half, n.length, n.pitch, n.velocity) for n in notes if n.onset >= half}
    assert first == second
    for note in notes:
        assert note.pitch % 12 in bars[note.onset // metre.bar_ticks][0].pitch_classes


@pytest.mark.parametrize("seed", range(30))
def test_a_melody_over_plain_chords_stays_in_the_key_and_in_its_range(seed):
    bars = tuple((chord_of(numeral, 2),) for numeral in ("I", "vi", "IV", "V"))
    rng = random.Random(seed)
    mood = rng.choice(["calm", "moving"])
    notes = melody(spans_of(bars, FOUR), FOUR, scale_of(2, False), low=60, high=79, mood=mood, rng=rng)
    assert notes
    assert all(note.pitch % 12 in scale_of(2, False) and 60 <= note.pitch <= 79 for note in notes)
    assert all(note.pitch % 12 in bars[0][0].pitch_classes for note in notes if note.onset == 0)


def test_a_scale_that_rises_over_the_tonic_and_dominant_is_harmonised_with_them():
    triads = [(0, 4, 7, 4), (7, 11, 2, 11), (5, 9, 0, 9), (0, 4, 7, 4)]
    notes = [
        Note(TICKS_PER_BEAT * (4 * bar + beat), TICKS_PER_BEAT, 60 + pitch_class, 80)
        for bar, triad in enumerate(triads)
        for beat, pitch_class in enumerate(triad)
    ]
    assert [chord.symbol for chord in harmonize(notes, 0, FOUR, 0, "major")] == ["C", "G", "F", "C"]
