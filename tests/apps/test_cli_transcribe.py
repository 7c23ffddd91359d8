"""``transcribe`` writes the notes of a recording, with its tempo; what cannot be written is refused first."""

import json

import pytest

from descant import transcription
from descant.apps.cli.main import main
from descant.audio import Clip
from descant.transcription import Note, network
from tests.evaluation.tones import clip_of, sequence

needs_extra = pytest.mark.skipif(not transcription.is_installed(), reason="the extra midi is not installed")


@pytest.fixture
def melody(tmp_path, monkeypatch):
    """Four notes in two seconds, recorded as music that was generated at 90 bpm."""
    monkeypatch.chdir(tmp_path)
    clip = clip_of(sequence([60, 64, 67, 72], 0.5, decay_per_s=3))
    Clip(clip.samples, clip.sample_rate_hz, info={"text": "four notes", "tempo": 90.0}).save("melody.flac")
    return tmp_path


@needs_extra
@pytest.mark.parametrize(("options", "tempo"), [((), 90.0), (("--tempo", "124.5"), 124.5)])
def test_the_notes_of_a_file_are_written_with_its_tempo(melody, capsys, options, tempo):
    mido = pytest.importorskip("mido")
    assert main(["transcribe", "melody.flac", "-o", "notes.mid", "--json", *options]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["file"], result["tempo_bpm"]) == ("notes.mid", tempo)
    (track,) = mido.MidiFile(melody / "notes.mid").tracks
    pitches = [one.note for one in track if one.type == "note_on" and one.velocity]
    assert len(pitches) == result["num_notes"]
    # A harmonic may be taken for a fifth note.
    assert [pitch for pitch in pitches if pitch <= 72] == [60, 64, 67, 72]
    assert mido.tempo2bpm(track[1].tempo) == pytest.approx(tempo, rel=1e-5)
    assert track.name == "notes"


@pytest.mark.usefixtures("melody")
@pytest.mark.parametrize(
    ("count", "said"), [(0, "no note was found"), (1, "1 note, bars of 90 bpm"), (4, "4 notes, bars of 90 bpm")]
)
def test_the_number_of_notes_is_said_also_if_it_is_none(capsys, monkeypatch, count, said):
    """A file of silence became an empty MIDI file without a word."""
    pytest.importorskip("mido")
    notes = [Note(0.0, 0.2, 60, 0.8)] * count
    monkeypatch.setattr(transcription, "transcribe", lambda _clip: notes)
    assert main(["transcribe", "melody.flac", "-o", "notes.mid", "--tempo", "90"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "notes.mid\n"
    assert said in shown.err
    assert main(["transcribe", "melody.flac", "-o", "notes.mid", "--tempo", "90", "--json"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-o", "notes.wav"), ".mid, .midi"),
        (("-o", "folder/"), "name the file to write"),
        (("-o", "notes.mid", "--tempo", "10"), "--tempo 10: the bars of a MIDI file have 30 to 300 bpm"),
    ],
)
def test_what_is_wrong_is_refused_and_nothing_is_written(melody, capsys, words, said):
    assert main(["transcribe", "melody.flac", *words]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in melody.iterdir()] == ["melody.flac"]


def test_without_the_weights_the_command_says_what_to_install(melody, capsys, monkeypatch):
    network._session.cache_clear()
    monkeypatch.setattr(network, "_weights_file", lambda: None)
    assert main(["transcribe", "melody.flac", "-o", "notes.mid"]) == 2
    assert 'pip install "descant[midi]" && pip install --no-deps basic-pitch==0.4.0' in capsys.readouterr().err
    assert not (melody / "notes.mid").exists()
