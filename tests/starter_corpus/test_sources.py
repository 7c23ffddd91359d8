"""What comes from other programs and packages: grooves, MIDI files, chorales."""

import pytest

from descant.errors import ConfigError, DataError, MissingExtra
from starter_corpus import mma
from starter_corpus.arrangement import Tempo
from starter_corpus.chorales import ChoralePlan, arrange_chorale, chorales
from starter_corpus.instruments import program_of
from starter_corpus.midi import read_tracks
from starter_corpus.progressions import FAMILIES
from starter_corpus.score import TICKS_PER_BEAT, Note, locked_samples_per_beat
from starter_corpus.sketches import SKETCHES
from starter_corpus.styles import STYLES
from starter_corpus.textures import TEXTURES


def test_the_tables_name_only_what_exists():
    for style in STYLES:
        assert style.family in FAMILIES
        assert all(program_of(lead) >= 0 for lead in style.leads)
    for sketch in SKETCHES:
        assert set(sketch.families) <= set(FAMILIES)
        assert all(texture in TEXTURES and program_of(name) >= 0 for texture, name in sketch.textures)
        assert all(program_of(lead) >= 0 for lead in sketch.leads)


def test_no_style_file_is_listed_twice():
    assert len({style.file for style in STYLES}) == len(STYLES)


def test_an_unknown_instrument_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'theremin'.*known.*accordion"):
        program_of("theremin")


@pytest.mark.usefixtures("programs")
def test_every_style_has_grooves_that_can_be_repeated():
    """``DescendingJazz`` once had none: its name ends nothing, but holds ``end``."""
    for style in STYLES:
        names = [groove.name.lower() for groove in mma.grooves_of(style.file)]
        assert names, style.file
        assert not [name for name in names if "intro" in name or name.endswith("end")]


@pytest.mark.usefixtures("programs")
def test_a_missing_style_file_is_named_with_what_to_install():
    with pytest.raises(MissingExtra, match="apt install mma"):
        mma.grooves_of("stdlib/nosuchstyle")


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize(
    ("file", "metre", "beats"),
    [
        ("stdlib/waltz", "3/4", 3),
        ("stdlib/ballad68", "6/8", 2),
        ("stdlib/68march", "6/8", 2),
        ("stdlib/tango", "4/4", 4),
    ],
)
def test_a_groove_fills_its_bars_in_its_metre(file, metre, beats):
    groove = mma.grooves_of(file)[0]
    bars = FAMILIES["pop"][0].in_key(0)[:2]
    tracks = mma.play(groove, bars, seed=1)
    assert (groove.metre, groove.beats_per_bar) == (metre, beats)
    last = max(note.onset for track in tracks for note in track.notes)
    assert beats * TICKS_PER_BEAT <= last < 2 * beats * TICKS_PER_BEAT


@pytest.mark.usefixtures("programs")
def test_a_groove_played_with_one_seed_twice_is_the_same():
    groove = mma.grooves_of("stdlib/bossanova")[0]
    bars = FAMILIES["latin"][0].in_key(9)
    assert mma.play(groove, bars, seed=4) == mma.play(groove, bars, seed=4)


@pytest.mark.usefixtures("programs")
def test_a_groove_that_mma_does_not_know_is_a_data_error():
    groove = mma.Groove(
        file="stdlib/waltz", name="Nonsense", mma_beats_per_bar=3, beats_per_bar=3, metre="3/4", num_bars=4
    )
    with pytest.raises(DataError, match="groove Nonsense"):
        mma.play(groove, FAMILIES["pop"][0].in_key(0), seed=1)


def test_a_track_that_changes_its_program_is_split(tmp_path):
    mido = pytest.importorskip("mido")
    track = mido.MidiTrack()
    for kind, values in (
        ("program_change", {"program": 24}),
        ("note_on", {"note": 60, "velocity": 90}),
        ("note_off", {"note": 60, "time": 96}),
        ("program_change", {"program": 73}),
        ("note_on", {"note": 64, "velocity": 80}),
        ("note_on", {"note": 64, "velocity": 0, "time": 48}),
    ):
        track.append(mido.Message(kind, **values))
    song = mido.MidiFile(ticks_per_beat=96)
    song.tracks.append(track)
    song.save(tmp_path / "song.mid")
    tracks = read_tracks(tmp_path / "song.mid")
    assert [(t.program, t.notes) for t in tracks] == [(24, (Note(0, 96, 60, 90),)), (73, (Note(96, 48, 64, 80),))]


def chorale(name: str) -> ChoralePlan:
    return ChoralePlan(
        name=name,
        semitones=2,
        tempo=Tempo(samples_per_beat=locked_samples_per_beat(40), is_locked=True),
        num_bars=8,
        ensemble=("choir",) * 4,
        ensemble_name="choir",
    )


@pytest.mark.usefixtures("programs")
def test_a_chorale_has_four_voices_and_moves_with_its_key():
    assert "bwv393" in chorales()
    arranged = arrange_chorale(chorale("bwv393"))
    assert len(arranged.score.parts) == 4
    assert arranged.key == "B major"
    top, bottom = arranged.score.parts[0].notes, arranged.score.parts[3].notes
    assert max(note.pitch for note in top) > max(note.pitch for note in bottom)


@pytest.mark.usefixtures("programs")
def test_a_chorale_in_three_is_a_data_error():
    with pytest.raises(DataError, match=r"bwv269 has 4 parts in \['3/4'\]"):
        arrange_chorale(chorale("bwv269"))
