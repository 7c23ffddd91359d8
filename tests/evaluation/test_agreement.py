"""Clips of known tempo, key, chords and melody, scored against targets."""

import pytest
import torch

from descant.audio import Clip
from descant.conditioning.chords import parse_chords
from descant.errors import InvalidRequest
from descant.evaluation import agreement
from descant.evaluation.agreement import (
    Agreement,
    chord_share,
    key_fit,
    measure_agreement,
    mood_mode,
    target_of,
    templates_of,
    tempo_fit,
)
from descant.evaluation.embedders import TAGS
from descant.evaluation.instruments import CALIBRATION, InstrumentDetector
from descant.tempo_key import parse_tempo_key
from tests.evaluation.tones import RATE_HZ, clip_of, note, pattern, roll, sequence

C, F, G, AM = (60, 64, 67), (65, 69, 72), (67, 71, 74), (57, 60, 64)
needs_librosa = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("librosa"), reason="librosa is not installed"
)


def cadence(up=0):
    """A cadence, a chord a second, ``up`` semitones above C major."""
    return clip_of(sequence([tuple(pitch + up for pitch in chord) for chord in (C, F, G, C)], 1.0))


def clicks(bpm):
    return clip_of(pattern((0,), 60 / bpm, 8.0))


def silence(duration_s):
    return Clip(samples=torch.zeros(1, int(duration_s * RATE_HZ)), sample_rate_hz=RATE_HZ)


def agree(clip, text, **asked):
    return measure_agreement(clip, target_of(text, **asked))


@needs_librosa
def test_of_three_candidates_the_one_at_the_target_tempo_agrees_best():
    found = {bpm: agree(clicks(bpm), "techno, 120 bpm") for bpm in (90, 120, 133)}
    assert found[120].score == 1
    assert found[120].tempo_ratio == "same"
    assert found[90].score == 0
    assert 0 < found[133].score < 1
    assert agree(clicks(120), "a ballad, 60 bpm").tempo_ratio == "double"


@needs_librosa
def test_of_three_candidates_the_one_in_the_target_key_agrees_best():
    assert [agree(cadence(up), "a hymn in C major").key for up in (0, 7, 5)] == [1, 0.5, 0]
    assert agree(cadence(), "a hymn in a major key").key == 1
    assert agree(cadence(), "a hymn in a minor key").key == 0


@needs_librosa
def test_the_score_is_the_mean_over_the_targets():
    scores = agree(cadence(), "a hymn in C major", melody=cadence())
    assert (scores.tempo, scores.key, scores.melody) == (None, 1, pytest.approx(1))
    assert scores.score == pytest.approx(1)
    assert agree(cadence(), "in C major", melody=cadence(6)).score == pytest.approx(0.5, abs=0.1)
    assert agree(cadence(), "in C major", chords="F#:0").score == pytest.approx(0.5)


@needs_librosa
def test_a_mood_is_compared_with_the_mode_and_is_no_part_of_the_score():
    assert (agree(cadence(), "a happy hymn").mood, agree(cadence(), "a sad hymn").mood) == (1, 0)
    assert agree(cadence(), "a sad hymn").score is None
    assert [mood_mode(text) for text in ("Dark synths", "a jolly jig", "happy and sad", "darker")] == [
        "minor", "major", None, None
    ]  # fmt: skip


def test_a_text_without_targets_has_no_score_and_needs_no_librosa(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "librosa", None)
    for text in (None, "", "warm piano"):
        assert agree(cadence(), text) == Agreement()
        assert agree(cadence(), text).score is None
    assert agree(cadence(), "warm piano", melody=cadence(), chords="C:0 F:1 G:2 C:3").score > 0.9


@pytest.mark.parametrize("duration_s", [0.05, 5])
def test_a_silent_clip_scores_0_for_any_target(duration_s):
    assert agree(silence(duration_s), "a sad tune in A minor, 60 bpm", melody=cadence(), chords="C:0").score == 0
    assert agree(silence(duration_s), None, melody=silence(5)).score == 0
    # Too short a clip has no tempo, be it silent or not.
    found = agree(silence(duration_s), "60 bpm")
    assert found == (Agreement(tempo=0.0, tempo_ratio="other") if duration_s > 2 else Agreement())


def test_a_clip_too_short_for_a_tempo_is_scored_by_its_melody():
    short = clip_of(note(60, 0.05))
    scores = agree(short, "in C major, 120 bpm", melody=short)
    assert (scores.tempo, scores.key, scores.melody) == (None, None, pytest.approx(1))
    assert agree(short, "in C major, 120 bpm").score is None


@pytest.mark.parametrize("up", [0, 5])
@pytest.mark.parametrize("with_drums", [False, True])
def test_asked_chords_are_found_where_they_are_played(up, with_drums):
    chords = sequence([tuple(pitch + up for pitch in chord) for chord in (C, AM, F, G)], 2.0)
    clip = clip_of(chords + with_drums * 0.5 * roll(8.0))
    right, late, wrong = {
        0: ("C:0 Am:2 F:4 G:6", "C:0 Am:4 F:6 G:8", "E:0 Bm:2 Eb:4 Ab:6"),
        5: ("F:0 Dm:2 Bb:4 C:6", "F:0 Dm:4 Bb:6 C:8", "A:0 Em:2 Ab:4 C#:6"),
    }[up]
    assert chord_share(clip, parse_chords(right)) > 0.9
    assert 0.15 < chord_share(clip, parse_chords(late)) < 0.4
    assert chord_share(clip, parse_chords(wrong)) < 0.05


def test_sevenths_may_be_left_out_and_other_chords_are_compared_whole():
    clip = clip_of(sequence([(48, 60, 64, 67, 70), (47, 62, 67, 74), (60, 65, 67), (59, 62, 65)], 2.0))
    assert chord_share(clip, parse_chords("C7:0 G/B:2 Csus4:4 Bdim:6")) > 0.9
    assert chord_share(clip, parse_chords("C:0 G/B:2 Csus4:4 Bdim:6")) > 0.9
    assert chord_share(clip, parse_chords("C7:0 G/B:2 C:4 B:6")) < 0.6
    assert chord_share(clip_of(sequence([C, G], 4.0)), parse_chords("C7:0 Gmaj7:4")) > 0.9
    templates = [templates_of(chord) for chord in parse_chords("Am7:0 C:1 C5:2 N:3")]
    assert templates == [
        {frozenset({9, 0, 4, 7}), frozenset({9, 0, 4})},
        {frozenset({0, 4, 7})},
        {frozenset({0, 7})},
        set(),
    ]


def test_only_frames_with_an_asked_chord_count():
    clip = clip_of(sequence([C, F], 4.0))
    assert chord_share(clip, parse_chords("F:4")) > 0.9
    assert chord_share(clip, parse_chords("C:0 N:4")) > 0.9
    assert chord_share(clip, parse_chords("N:0")) is None
    assert chord_share(silence(4), parse_chords("C:0")) == 0


class ListeningTagger:
    """Gives some tags a probability of 1 and the others 0."""

    def __init__(self, *tags):
        self.probabilities = torch.tensor([float(tag in tags) for tag in TAGS])

    def tag(self, _clip):
        return self.probabilities


@pytest.mark.usefixtures("unchecked")
def test_the_named_instruments_are_looked_for_in_the_tags():
    detector = InstrumentDetector(ListeningTagger("cello", "drums"), CALIBRATION)
    shares = {
        text: measure_agreement(cadence(), target_of(text), detector).instruments
        for text in ("two violins", "piano and drums", "tuba", "drums, without guitar", "no drums, piano and flute")
    }
    assert list(shares.values()) == [1, 0.5, None, 1, 0]
    violin = target_of("violin")
    assert measure_agreement(cadence()[0:2.5], violin, detector).instruments is None
    assert measure_agreement(silence(5), violin, detector).instruments == 0


def test_what_cannot_be_scored_is_refused_before_it_is_generated():
    agreement.require_scorable(target_of(None, chords="C:0"), 1.0)
    with pytest.raises(InvalidRequest, match="states none"):
        agreement.require_scorable(target_of("sad piano"), 10.0)
    with pytest.raises(InvalidRequest, match="too short"):
        agreement.require_scorable(target_of("120 bpm"), 1.0)


@pytest.mark.parametrize(
    ("estimated", "credit"),
    [(120, 1), (125.9, 1), (114.1, 1), (132, 0.5), (138, 0), (240, 0.5), (60, 0.5), (66, 0.25), (180, 0), (None, 0)],
)
def test_tempo_is_right_half_right_at_the_octave_and_falls_off(estimated, credit):
    assert tempo_fit(None if estimated is None else float(estimated), 120.0) == pytest.approx(credit)


@pytest.mark.parametrize(
    ("estimated", "credit"),
    [("C major", 1), ("G major", 0.5), ("A minor", 0.3), ("C minor", 0.2), ("F major", 0), ("E minor", 0)],
)
def test_keys_near_c_major_have_mirexs_credit(estimated, credit):
    assert key_fit(estimated, parse_tempo_key("in C major")) == credit


@pytest.mark.parametrize(
    ("estimated", "credit"), [("F# minor", 1), ("C# minor", 0.5), ("A major", 0.3), ("F# major", 0.2), ("Eb major", 0)]
)
def test_keys_near_f_sharp_minor_have_mirexs_credit(estimated, credit):
    assert key_fit(estimated, parse_tempo_key("in F# minor")) == credit
