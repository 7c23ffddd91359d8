from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from descant.errors import DataError, MissingExtra
from starter_corpus.arrangement import Arrangement, Tempo
from starter_corpus.band import arrange_band
from starter_corpus.pieces import describe, make_piece, plan_piece
from starter_corpus.render import MAX_PEAK, find_soundfont, mix
from starter_corpus.score import FRAME_SAMPLES, Note, Part, Score, Sound, locked_samples_per_beat, tile


def score(*parts: Part, num_bars: int = 4, loop_bars: int | None = None) -> Score:
    """A score of short bars: two beats of 17 frames."""
    return Score(
        parts=parts,
        samples_per_beat=locked_samples_per_beat(17),
        beats_per_bar=2,
        num_bars=num_bars,
        loop_bars=loop_bars,
    )


LOOP = tuple(Note(onset, 700, pitch, 90) for onset, pitch in ((0, 60), (960, 64), (1_920, 67), (2_880, 72)))
PIANO = Part(program=0, role="chords", notes=tile(LOOP, 3_840, 5 * 3_840))
DRUMS = Part(
    program=0, role="drums", notes=tile((Note(0, 100, 36, 100), Note(960, 100, 38, 90)), 1_920, 19_200), is_drums=True
)


def test_repetitions_of_a_loop_are_the_same_samples(synthesizer):
    stems = synthesizer.play(score(PIANO, DRUMS, num_bars=10, loop_bars=2))
    loop = 4 * 17 * FRAME_SAMPLES
    repetitions = stems[:, 2 * loop :].reshape(2, 3, loop)
    np.testing.assert_array_equal(repetitions[:, 1], repetitions[:, 0])
    np.testing.assert_array_equal(repetitions[:, 2], repetitions[:, 0])


def test_a_copied_repetition_equals_a_rendered_one(synthesizer):
    copied = synthesizer.play(score(PIANO, DRUMS, num_bars=10, loop_bars=2))
    played = synthesizer.play(score(PIANO, DRUMS, num_bars=10))
    np.testing.assert_allclose(copied, played, atol=2e-4)


def test_earlier_scores_do_not_change_a_rendering(synthesizer):
    first = synthesizer.play(score(PIANO))
    synthesizer.play(score(replace(PIANO, program=24), DRUMS))
    np.testing.assert_array_equal(synthesizer.play(score(PIANO)), first)


def test_parts_played_together_are_the_parts_played_alone(synthesizer):
    together = synthesizer.play(score(PIANO, DRUMS))
    np.testing.assert_allclose(together[0], synthesizer.play(score(PIANO))[0], atol=1e-3)


def test_a_mix_has_the_level_and_the_peak_it_should(synthesizer):
    song = score(PIANO, DRUMS)
    mixed = mix(song, synthesizer.play(song), [0.0, 0.0])
    rms_db = 20 * np.log10(np.sqrt(np.mean(mixed.samples**2)))
    assert abs(mixed.samples).max() <= MAX_PEAK + 1e-6
    assert rms_db == pytest.approx(-20, abs=0.1) or abs(mixed.samples).max() == pytest.approx(MAX_PEAK, abs=1e-3)
    assert mixed.audible_shares == (1.0, 1.0)


def test_a_part_with_one_note_is_audible_in_few_crops(synthesizer):
    once = Part(program=73, role="lead", notes=(Note(0, 400, 72, 90),))
    song = score(replace(PIANO, notes=tile(LOOP, 3_840, 40 * 3_840)), once, num_bars=60)
    assert mix(song, synthesizer.play(song), [0.0, 0.0]).audible_shares[1] < 0.8


def test_silence_is_audible_nowhere_and_not_an_error():
    song = score(PIANO)
    mixed = mix(song, np.zeros((1, song.num_samples), dtype=np.float32), [0.0])
    assert mixed.audible_shares == (0.0,)


def test_a_missing_soundfont_is_named_with_the_command_that_installs_it():
    with pytest.raises(
        MissingExtra, match=r"nowhere\.sf2.*apt install fluidsynth fluid-soundfont-gm musescore-general-soundfont"
    ):
        find_soundfont(Path("nowhere.sf2"))


def test_the_last_notes_ring_on_after_the_last_bar(synthesizer):
    song = replace(score(PIANO, num_bars=2), tail_beats=2)
    stems = synthesizer.play(song)
    bars = 4 * 17 * FRAME_SAMPLES
    assert stems.shape[1] == bars + 2 * 17 * FRAME_SAMPLES == song.num_samples
    np.testing.assert_array_equal(stems[:, :bars], synthesizer.play(score(PIANO, num_bars=2)))
    ringing = mix(song, stems, [0.0]).samples[bars:]
    assert abs(ringing[: FRAME_SAMPLES * 4]).max() > 0.01
    assert ringing[-1] == 0


def test_a_part_sounds_as_its_preset_soundfont_and_amplifier(synthesizer):
    sounds = (
        None,
        Sound(preset=24),
        Sound(font="musescore", preset=0),
        Sound(preset=0, amplifier="high gain"),
    )
    stems = [synthesizer.play(score(replace(PIANO, sound=sound)))[0] for sound in sounds]
    for first, second in combinations(stems, 2):
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.999
    np.testing.assert_array_equal(synthesizer.play(score(replace(PIANO, sound=Sound(preset=0))))[0], stems[0])


def test_an_amplified_loop_repeats_exactly(synthesizer):
    guitar = replace(PIANO, sound=Sound(preset=27, amplifier="crunch"))
    stems = synthesizer.play(score(guitar, num_bars=10, loop_bars=2))
    loop = 4 * 17 * FRAME_SAMPLES
    np.testing.assert_array_equal(stems[:, 3 * loop : 4 * loop], stems[:, 2 * loop : 3 * loop])


def test_a_preset_that_a_soundfont_lacks_is_named(synthesizer):
    with pytest.raises(DataError, match=r"FluidR3_GM\.sf2 has no preset 5 in bank 99"):
        synthesizer.play(score(replace(PIANO, sound=Sound(bank=99, preset=5))))


@pytest.mark.usefixtures("programs")
def test_a_beat_locked_band_piece_repeats_exactly_one_loop_apart(synthesizer):
    plans = (plan_piece(0, index) for index in range(100))
    plan = next(p for p in plans if getattr(p, "is_loop", False) and p.tempo.is_locked)
    arranged = arrange_band(plan).score
    stems = synthesizer.play(arranged)
    loop = arranged.loop_bars * arranged.beats_per_bar * arranged.samples_per_beat
    assert loop % FRAME_SAMPLES == 0
    later = stems[:, 3 * loop :]
    np.testing.assert_array_equal(later, stems[:, 2 * loop : 2 * loop + later.shape[1]])


@pytest.mark.usefixtures("programs")
def test_the_same_piece_made_twice_is_the_same(synthesizer):
    first, second = (make_piece(synthesizer, 3, 7) for _ in range(2))
    np.testing.assert_array_equal(first.samples, second.samples)
    assert first.record == second.record


def test_a_seldom_audible_instrument_is_in_no_tag():
    flute = Part(program=73, role="lead", notes=(Note(0, 400, 72, 90),))
    arranged = Arrangement(
        score=score(PIANO, flute, DRUMS),
        genre="jazz",
        styles=("swing",),
        moods=(),
        tempo=Tempo(samples_per_beat=locked_samples_per_beat(17), is_locked=True),
        key="C major",
        metre="4/4",
        source="test:1",
        title="Test",
    )
    piece = describe(arranged, (1.0, 0.5, 0.5))
    assert piece.instruments == ("piano",)
    assert not piece.has_drums
    assert not piece.is_drumless
