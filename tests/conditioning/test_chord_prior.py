"""Phrases are drawn as the words suggest; those of a form contrast, and a loop has one that fits."""

import math
from collections import Counter
from dataclasses import replace

import pytest

from descant.checkpoints.native import starter_folder
from descant.checkpoints.prior_file import read_prior
from descant.conditioning.chord_prior import ChordPrior, features_of, longest_chord_bars
from descant.conditioning.song_form import bars_of, period_of
from descant.errors import ConfigError

MADE = ChordPrior(
    major={"C|F|G7|C": 0.0, "Cmaj7|Am7|Dm7|G7": 0.0, "C7|F7|C7|G7": 0.0, "C|G|C|G": 0.0},
    minor={"Cm|Fm|G7|Cm": 0.0, "Cm7|Fm7|Dm7b5|G7": 0.0},
    chords_weight=2.0,
    words={"jazz": [9.0, 0.0, -9.0, 0.0, 0.0], "drums": [0.0, 0.0, 0.0, 0.0, -4.0]},
)
SEEDS = range(1_000)
BAR_S = 1.0


@pytest.fixture(scope="module")
def shipped() -> ChordPrior:
    prior = read_prior(starter_folder())
    assert prior is not None
    assert prior.chords is not None
    return prior.chords


def share(prior: ChordPrior, text: str, phrase: str, bar_s: float = BAR_S) -> float:
    table = prior.major
    return float(prior.phrase_distribution(text, list(table), list(table.values()), bar_s)[list(table).index(phrase)])


def test_features_are_shares_of_chords():
    assert features_of("C|F|G7|C") == (0.25, 0.25, 0.0, 0.0)
    assert features_of("C7|F7|C7|G7") == (1.0, 0.25, 0.75, 0.0)
    assert features_of("Cm|Ab Bb|Eb|Gm") == (0.0, 0.2, 0.0, 0.6)


def test_first_phrases_are_drawn_as_often_as_they_are_likely():
    counts = Counter(MADE.draw("a song", seed, BAR_S).major["A"] for seed in SEEDS)
    for phrase in MADE.major:
        assert counts[bars_of(phrase)] / len(SEEDS) == pytest.approx(share(MADE, "a song", phrase), abs=0.05)
    assert share(MADE, "jazz", "Cmaj7|Am7|Dm7|G7") > 0.9
    assert MADE.draw("a SONG, xqzt!", 3, BAR_S) == MADE.draw("song", 3, BAR_S)


def test_what_a_text_states_of_the_key_changes_nothing():
    assert MADE.draw("song in F# minor, 90 bpm", 5, BAR_S) == MADE.draw("song", 5, BAR_S)


def test_phrases_of_a_form_have_as_many_bars_and_other_chords():
    for seed in range(200):
        form = MADE.draw("song", seed, BAR_S)
        others = [form.major[letter] for letter in sorted(set(form.letters) - {"A"})]
        for phrase in others:
            assert len(phrase) == len(form.major["A"])
            if phrase != form.major["A"]:
                assert sum(a != b for a, b in zip(phrase, form.major["A"], strict=True)) >= 2


def test_long_bars_have_phrases_whose_chords_are_short():
    prior = replace(MADE, major={"C|C|F|F": 1.0, "C|F|C|F": 0.0})
    shares = [share(prior, "song", "C|C|F|F", bar_s) for bar_s in (1.0, 2.0, 3.0, 4.0)]
    assert shares[0] == shares[1] == pytest.approx(math.e / (1 + math.e))
    assert shares[1] > shares[2] > shares[3]
    assert longest_chord_bars(bars_of("C F|F G|G|C")) == 1.5


@pytest.mark.parametrize(("loop_bars", "periods"), [(2, {2}), (4, {2, 4}), (6, {2}), (8, {2, 4}), (3, {2, 4})])
def test_a_loop_has_phrases_that_end_with_it(loop_bars, periods):
    drawn = [MADE.draw("song", seed, BAR_S, loop_bars) for seed in range(100)]
    assert {period_of(form.major["A"]) for form in drawn} == periods


def test_texts_that_rarely_have_chords_get_none():
    assert MADE.chords_probability("drums") == pytest.approx(1 / (1 + math.exp(2)))
    assert MADE.draw("drums", 1, BAR_S) is None
    assert MADE.draw("song", 1, BAR_S) is not None


def test_the_shipped_prior_leans_as_listeners_expect(shipped):
    def sevenths(text: str) -> float:
        drawn = [shipped.draw(text, seed, 2.0).major["A"] for seed in range(100)]
        return sum(features_of("|".join(map(" ".join, bars)))[0] for bars in drawn) / 100

    assert sevenths("cool jazz trio") > 0.6 > 0.3 > sevenths("folk song on a guitar")
    assert [shipped.draw(text, 1, 2.0) for text in ("drum loop", "drumming", "white noise", "beatbox")] == [None] * 4
    for text in ("slow sad piano", "techno with synth bass and drums", "ambient pad", "string quartet", "song"):
        assert shipped.draw(text, 1, 2.0) is not None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"major": {}}, "major: at least one"),
        ({"minor": {"H": 1.0}}, "phrase 'H'"),
        ({"minor": {"C": "x"}}, "minor: 'C' needs a number"),
        ({"words": {"slow": [0.0]}}, "words: 'slow' needs 5 numbers"),
        ({"words": {"slow": [math.inf] * 5}}, "words"),
    ],
)
def test_tables_of_other_shapes_are_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(MADE, **change)
