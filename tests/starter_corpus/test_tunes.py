import dataclasses

import pytest

from starter_corpus.score import TICKS_PER_BEAT
from starter_corpus.tunes import Tune, notes_of, tunes, upbeat_ticks

TUNE = Tune(
    source="test:1",
    title="Test, The",
    text="X:7\nT:Test, The\nM:6/8\nL:1/8\nK:D\nA|d2e f2g|a3 d3|e2d c2B|A3-A2:|\n",
    tonic=2,
    mode="major",
    metre_name="6/8",
    dance="jig",
    origin="Irish",
)


def test_an_upbeat_is_measured_up_to_the_first_bar_line():
    assert upbeat_ticks(TUNE) == TICKS_PER_BEAT // 3
    assert upbeat_ticks(dataclasses.replace(TUNE, text=TUNE.text.replace("A|d2e", "d2e"))) == 0


def test_a_first_line_with_a_repeat_sign_is_measured_too():
    """``A|d2e ... :|`` was once taken for a field of the header, as ``T:`` is, and the second line measured."""
    assert upbeat_ticks(dataclasses.replace(TUNE, text=TUNE.text + "d2e f2g|a6:|\n")) == TICKS_PER_BEAT // 3


def test_triplets_and_broken_rhythms_fill_a_bar():
    text = "X:1\nT:x\nM:C|\nL:1/8\nK:G\n(3BcB F>B G/2A/2c A2|d8|"
    tune = dataclasses.replace(TUNE, text=text, metre_name="2/2")
    assert upbeat_ticks(tune) == 0


@pytest.mark.usefixtures("programs")
def test_a_dotted_quarter_is_one_beat_of_a_jig():
    notes = notes_of(TUNE)
    assert notes[0].onset == 0
    first_bar = [note for note in notes if TICKS_PER_BEAT // 3 <= note.onset < TICKS_PER_BEAT // 3 + 2 * TICKS_PER_BEAT]
    assert [note.pitch for note in first_bar] == [74, 76, 78, 79]
    assert [note.onset * 3 // TICKS_PER_BEAT for note in first_bar] == [1, 3, 4, 6]


@pytest.mark.usefixtures("programs")
def test_the_collections_hold_thousands_of_tunes():
    sources = [tune.source for tune in tunes()]
    assert len(sources) > 3_000
    assert {source.split(":")[0] for source in sources} == {"oneills", "ryans", "airds"}


@pytest.mark.usefixtures("programs")
def test_every_mode_occurs_in_the_collections():
    assert {tune.mode for tune in tunes()} == {"major", "minor", "dorian", "mixolydian"}
