"""Chords on the command line: chosen ones are shown, and models without chords refuse what is given only."""

import pytest

from descant.apps.cli.requests import choices_of
from descant.audio import read_info
from descant.generation.request import Request

CHORDS = "Cm:0.0 Fm:1.6 G7:3.2 Cm:4.8"
TINY = ("--model", "tiny", "--device", "cpu", "-d", "0.1", "--seed", "4")


def test_chosen_chords_are_shown_with_tempo_and_key():
    shown = choices_of(Request(text="piano"), 75.0, "C minor", CHORDS)
    assert shown == "tempo 75 BPM (chosen), key C minor (chosen), chords Cm Fm G7 Cm (chosen)"
    long = " ".join(f"C:{second}" for second in range(9))
    assert choices_of(Request(text="75 bpm in C major"), 75.0, "C major", long) == "chords C C C C C C C C ... (chosen)"


@pytest.mark.parametrize("chords", ["none", CHORDS])
def test_given_chords_are_not_shown_as_chosen(chords):
    request = Request(text="75 bpm in C minor", chords=chords)
    assert choices_of(request, 75.0, "C minor", request.given_chords) == ""


@pytest.mark.parametrize("options", [(), ("--chords", "auto"), ("--chords", "none")])
def test_a_model_without_chords_makes_music_without_them(run, options):
    outcome = run("generate", "piano", *TINY, *options, "-o", "a.wav")
    assert outcome.code == 0, outcome.err
    assert "chords" not in outcome.err
    assert read_info("a.wav")["chords"] is None


def test_a_model_without_chords_refuses_given_ones_before_it_is_loaded(run):
    outcome = run("generate", "piano", *TINY, "--chords", "C:0 G:2", "-o", "a.wav")
    assert outcome.code == 2
    assert "--chords: model 'tiny' takes no chords" in outcome.err
