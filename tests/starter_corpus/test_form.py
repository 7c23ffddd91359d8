"""Form: phrases that return, cadences, endings, and labels that say what is played."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from descant.audio import Clip
from descant.conditioning.chords import parse_chords
from descant.evaluation.agreement import chord_share
from starter_corpus.arrangement import LONGEST_S, Tempo
from starter_corpus.band import BandPlan, arrange_band
from starter_corpus.chords import chord_of
from starter_corpus.form import Form, draw_form, phrase_chords
from starter_corpus.labels import Labels, chord_labels, frame_labels, label_tags
from starter_corpus.pieces import make_piece, plan_piece
from starter_corpus.production import PhrasedPart, Setting, labels_of, power_chords, produce
from starter_corpus.score import FRAME_SAMPLES, SAMPLE_RATE_HZ, TICKS_PER_BEAT, Note, Part, locked_samples_per_beat
from starter_corpus.spans import Metre, spans_of
from starter_corpus.textures import TEXTURES

FOUR = Metre(beats_per_bar=4)
TEMPO = Tempo(samples_per_beat=locked_samples_per_beat(25), is_locked=True)
PROGRESSION = tuple((chord_of(numeral, 2),) for numeral in ("I", "vi", "IV", "V"))
TWICE_THEN_OTHER = Form(letters="AAB", phrase_bars=4, has_cadences=True, has_ending=True)


def setting(form: Form, genre: str = "rock") -> Setting:
    chords = {phrase: phrase_chords(PROGRESSION, form, phrase[1], 2, False) for phrase in form.phrases}
    return Setting(form=form, chords=chords, tonic=2, is_minor=False, metre=FOUR, tempo=TEMPO, genre=genre)


def phrased(texture: str, of: Setting, **part: object) -> PhrasedPart:
    played = {phrase: TEXTURES[texture](spans_of(chords, FOUR), FOUR) for phrase, chords in of.chords.items()}
    return PhrasedPart(part=Part(notes=(), **part), played=played)


def in_phrase(part: Part, place: int, of: Setting) -> list[Note]:
    start = place * of.phrase_ticks
    return [
        Note(note.onset - start, note.length, note.pitch, note.velocity)
        for note in part.notes
        if start <= note.onset < start + of.phrase_ticks
    ]


@pytest.mark.parametrize("seed", range(40))
def test_a_form_of_any_tempo_fills_the_time_of_a_piece(seed):
    rng = random.Random(seed)
    bar_s = rng.uniform(0.9, 5.4)
    form = draw_form(rng, bar_s, rng.choice((2, 4, 8, 12)), "pop", 0.5)
    assert 20 < form.num_bars * bar_s <= LONGEST_S
    assert form.num_bars == len(form.letters) * form.phrase_bars + form.has_ending


def test_open_phrases_end_on_the_dominant_and_closed_ones_on_the_tonic():
    phrases = TWICE_THEN_OTHER.phrases
    assert phrases == (("A", False), ("A", True), ("B", False))
    ends = [[bar[-1].symbol for bar in phrase_chords(PROGRESSION, TWICE_THEN_OTHER, c, 2, False)] for _, c in phrases]
    assert ends == [["D", "Bm", "G", "A7"], ["D", "Bm", "A7", "D"], ["D", "Bm", "G", "A7"]]


@pytest.mark.parametrize("seed", range(8))
def test_a_phrase_that_returns_is_played_the_same_but_for_its_cadence(seed):
    """Players deviate from the score, but in the same way whenever a phrase returns."""
    of = setting(TWICE_THEN_OTHER, genre="folk")
    score = produce([phrased("strum", of, program=25, role="chords")], of, random.Random(seed))
    cadence = 2 * FOUR.bar_ticks - 60
    first, second = ([n for n in in_phrase(score.parts[0], place, of) if n.onset < cadence] for place in range(2))
    assert first == second
    assert first


def test_an_ending_holds_the_tonic_and_rings():
    of = setting(TWICE_THEN_OTHER)
    parts = [phrased("eighths", of, program=33, role="bass"), phrased("block", of, program=0, role="chords")]
    score = produce(parts, of, random.Random(1))
    end = 12 * FOUR.bar_ticks
    assert score.num_bars == 13
    assert score.tail_beats * 25 * FRAME_SAMPLES >= 1.5 * 32_000
    for part in score.parts:
        last = [note for note in part.notes if note.onset >= end]
        assert {note.pitch % 12 for note in last} <= {2, 6, 9}
        assert all(note.length == FOUR.bar_ticks for note in last)
        assert max(note.onset + note.length for note in part.notes if note.onset < end) <= end


def test_drums_lead_to_the_next_phrase_with_a_fill_and_enter_it_with_a_crash():
    of = setting(Form(letters="AB", phrase_bars=4, has_cadences=False, has_ending=False))
    beat = tuple(Note(place * TICKS_PER_BEAT // 2, 100, 42 if place % 2 else 36, 90) for place in range(4 * 8))
    part = Part(program=0, role="drums", notes=(), is_drums=True)
    drums = PhrasedPart(part=part, played=dict.fromkeys(of.form.phrases, beat))
    scores = [produce([drums], of, random.Random(seed)) for seed in range(12)]
    filled = [score.parts[0] for score in scores if any(note.pitch == 49 for note in score.parts[0].notes)]
    assert 6 <= len(filled) <= 12
    for drums in filled:
        last_beats = {n.pitch for n in in_phrase(drums, 0, of) if n.onset >= of.phrase_ticks - 2 * TICKS_PER_BEAT - 40}
        assert last_beats & {38, 48, 47, 45, 43, 41}
        assert {n.pitch for n in in_phrase(drums, 1, of)} == {36, 42, 49}
        assert min(n.onset for n in in_phrase(drums, 1, of) if n.pitch == 49) < 40


def test_a_distorted_guitar_plays_root_fifth_and_octave_of_the_chord_that_sounds():
    spans = spans_of(PROGRESSION, FOUR)
    played = power_chords(TEXTURES["pulse"](spans, FOUR), spans)
    for note in played:
        chord = PROGRESSION[note.onset // FOUR.bar_ticks][0]
        assert note.pitch % 12 in (chord.root, (chord.root + 7) % 12)
    assert len(played) == 3 * 16


def test_labels_of_a_form_name_its_chords_and_sections_on_their_ticks():
    labels = labels_of(setting(TWICE_THEN_OTHER), has_chords=True)
    bar = FOUR.bar_ticks
    assert labels.sections == (("A", 0), ("A", 4 * bar), ("B", 8 * bar))
    assert [(chord.symbol, tick // bar) for chord, tick in labels.chords][-4:] == [
        *(("Bm", 9), ("G", 10), ("A7", 11), ("D", 12)),
    ]


def test_frames_have_the_labels_of_their_time():
    chords = tuple(chord_labels([(chord_of("I", 0),), (chord_of("IM7", 0), chord_of("V7b9", 0))], 3_840, 960))
    labels = Labels(chords=((None, 0), *chords), sections=(("A", 0), ("B", 4_800)), upbeat_ticks=960)
    tags = {"bpm": 120.0, "metre": "4/4", **label_tags(labels, TEMPO.samples_per_beat)}
    assert tags["chords"] == "N:0.0 C:0.5 Cmaj7:2.5 G7:3.5"
    assert [chord.symbol for chord in parse_chords(tags["chords"])] == ["N", "C", "Cmaj7", "G7"]
    frames = frame_labels(tags, duration_s=4.5)
    beat = 25
    np.testing.assert_allclose(frames.beat[[0, beat, 2 * beat]], [0, 1, 2])
    assert frames.bar[[0, beat - 1, beat, 5 * beat - 1, 5 * beat]].tolist() == [-1, -1, 0, 0, 1]
    assert [frames.chord[frame] for frame in (0, beat, 5 * beat, 7 * beat - 1, 7 * beat)] == [
        "",
        "C",
        "Cmaj7",
        "Cmaj7",
        "G7",
    ]
    assert [frames.section[frame] for frame in (5 * beat - 1, 5 * beat)] == ["A", "B"]
    assert len(frames.chord) == len(frames.beat) == 225


@pytest.mark.usefixtures("programs")
def test_what_a_band_plays_is_what_its_labels_say(synthesizer):
    """The labelled chords are heard where they are labelled, and their transpositions by a tritone hardly anywhere."""
    plans = ((index, plan_piece(7, index)) for index in range(60))
    number = next(index for index, plan in plans if isinstance(plan, BandPlan) and plan.form is not None)
    piece = make_piece(synthesizer, 7, number)
    clip = Clip(torch.from_numpy(piece.samples)[None], SAMPLE_RATE_HZ)
    labelled = parse_chords(piece.record["tags"]["chords"])
    elsewhere = [
        replace(
            chord,
            root=(chord.root + 6) % 12,
            bass=(chord.bass + 6) % 12,
            pitches=frozenset((pitch + 6) % 12 for pitch in chord.pitches),
        )
        for chord in labelled
    ]
    assert chord_share(clip, labelled) > 0.4
    assert chord_share(clip, tuple(elsewhere)) < 0.1


@pytest.mark.usefixtures("programs")
def test_a_loop_is_labelled_with_its_chords_in_every_repetition():
    plans = (plan_piece(0, index) for index in range(200))
    plan = next(p for p in plans if isinstance(p, BandPlan) and p.is_loop and not p.style.is_beat)
    arranged = arrange_band(plan)
    roots = [chord.root for chord, _ in arranged.labels.chords]
    ticks = [tick for _, tick in arranged.labels.chords]
    assert ticks == sorted(set(ticks))
    assert ticks[0] == 0
    assert set(roots) == {chord.root for bar in plan.progression.in_key(plan.tonic) for chord in bar}
    assert len(roots) > len(plan.progression.bars)
