"""Notes that were played are found, at their time, and no others; MIDI files say the same notes."""

import io
import random
from itertools import pairwise

import pytest
import torch

from descant import transcription
from descant.audio import Clip
from descant.errors import InvalidRequest, MissingExtra
from descant.transcription import Note, midi_file, network, transcribe
from descant.transcription.notes import FRAME_S
from tests.evaluation.tones import RATE_HZ, noise, note

# Half of the usual tolerance of transcription scores, 50 ms.
ONSET_S = 0.025
needs_extra = pytest.mark.skipif(not transcription.is_installed(), reason="the extra midi is not installed")


@pytest.fixture(scope="module")
def score() -> list[Note]:
    """Ten seconds of notes and chords from a bass A to a high A flat, between half and one and a half beats long."""
    draw, score, now = random.Random(3), [], 0.25
    while now < 9.0:
        length_s = draw.choice([0.25, 0.5, 0.75])
        pitches = draw.sample(range(45, 81), draw.choice([1, 2, 3]))
        score += [Note(now, now + length_s, pitch, 1.0) for pitch in sorted(pitches)]
        now += length_s
    return score


def played(score: list[Note]) -> Clip:
    samples = torch.zeros(round((max(one.end_s for one in score) + 1) * RATE_HZ))
    for one in score:
        sound = note(one.pitch, one.end_s - one.onset_s, decay_per_s=3)
        start = round(one.onset_s * RATE_HZ)
        samples[start : start + len(sound)] += sound
    return Clip(samples[None], RATE_HZ)


def f1(expected: list[Note], found: list[Note]) -> float:
    """Of pitches with their onsets; each note counts once."""
    left, hits = list(found), 0
    for one in expected:
        match = next((n for n in left if n.pitch == one.pitch and abs(n.onset_s - one.onset_s) <= ONSET_S), None)
        if match is not None:
            left.remove(match)
            hits += 1
    return 2 * hits / (len(expected) + len(found))


@needs_extra
def test_the_notes_of_a_score_are_found(score):
    found = transcribe(played(score))
    assert f1(score, found) >= 0.95
    assert found == sorted(found, key=lambda one: (one.onset_s, one.pitch))
    assert all(0 < one.confidence <= 1 and one.end_s > one.onset_s for one in found)


@needs_extra
def test_level_rate_and_channels_of_a_clip_hardly_matter(score):
    clip = played(score)
    plain = transcribe(clip)
    assert f1(plain, transcribe(clip * 0.01)) >= 0.95
    assert f1(plain, transcribe(clip.resample(48_000).to_channels(2))) >= 0.95


@needs_extra
def test_where_the_windows_lie_does_not_matter():
    """A window ends in the middle of this note, and the next one begins there."""
    boundary = network.KEPT_FRAMES * FRAME_S
    for onset_s in (0.1, boundary - 0.3, boundary - FRAME_S, boundary, 2 * boundary + 0.1):
        (found,) = transcribe(played([Note(onset_s, onset_s + 0.6, 64, 1.0)]))
        assert (found.pitch, found.onset_s) == (64, pytest.approx(onset_s, abs=ONSET_S))
        assert found.end_s == pytest.approx(onset_s + 0.6, abs=0.15)


@needs_extra
def test_a_pitch_that_is_struck_again_is_another_note():
    struck = [Note(0.2 + 0.4 * count, 0.6 + 0.4 * count, 57, 1.0) for count in range(4)]
    found = transcribe(played(struck))
    assert f1(struck, found) == 1.0
    assert all(one.end_s <= later.onset_s for one, later in pairwise(found))


@needs_extra
def test_silence_and_the_noise_after_a_last_note_have_no_notes():
    assert transcribe(Clip(torch.zeros(1, 3 * RATE_HZ), RATE_HZ)) == []
    assert transcribe(Clip(torch.zeros(1, 1), RATE_HZ)) == []
    (only,) = transcribe(Clip(torch.cat([note(60, 1.0), 1e-3 * noise(5.0)])[None], RATE_HZ))
    assert only.pitch == 60


@needs_extra
@pytest.mark.parametrize("tempo", [30.0, 71.8, 120.0, 300.0])
def test_a_midi_file_says_the_notes_at_their_seconds(score, tempo):
    mido = pytest.importorskip("mido")
    file = mido.MidiFile(file=io.BytesIO(midi_file(score, 10.0, tempo, "lo-fi ☔")))
    now, begun, read = 0.0, {}, []
    for message in file:  # with seconds since the message before
        now += message.time
        if message.type == "note_on" and message.velocity:
            begun[message.note] = now
        elif message.type == "note_on":
            read.append(Note(begun.pop(message.note), now, message.note, 1.0))
    assert begun == {}
    tick_s = 60 / tempo / file.ticks_per_beat
    for ours, theirs in zip(score, sorted(read, key=lambda one: (one.onset_s, one.pitch)), strict=True):
        assert theirs.pitch == ours.pitch
        assert (theirs.onset_s, theirs.end_s) == pytest.approx((ours.onset_s, ours.end_s), abs=tick_s)
    assert file.length == pytest.approx(10.0, abs=tick_s)
    (track,) = file.tracks
    assert (track.name, mido.tempo2bpm(track[1].tempo)) == ("lo-fi ?", pytest.approx(tempo, rel=1e-6))


@needs_extra
def test_bars_of_a_midi_file_line_up():
    """At 90 bpm a bar of four beats takes 8/3 s, and its first note is at a multiple of four beats of ticks."""
    mido = pytest.importorskip("mido")
    bar_s = 4 * 60 / 90
    notes = [Note(bar * bar_s, bar * bar_s + 0.5, 60, 0.5) for bar in range(4)]
    (track,) = (file := mido.MidiFile(file=io.BytesIO(midi_file(notes, 4 * bar_s, 90.0)))).tracks
    now, ticks = 0, []
    for message in track:
        now += message.time
        if message.type == "note_on" and message.velocity:
            ticks.append(now)
    assert ticks == [bar * 4 * file.ticks_per_beat for bar in range(4)]


def test_a_tempo_that_no_music_has_is_refused():
    for tempo in (0.0, 29.9, 301.0, float("nan")):
        with pytest.raises(InvalidRequest, match="30 to 300"):
            transcription.check_tempo(tempo)


def test_missing_weights_say_how_to_install_them(monkeypatch):
    monkeypatch.setattr(network, "_weights_file", lambda: None)
    assert not transcription.is_installed()
    network._session.cache_clear()
    with pytest.raises(MissingExtra, match=r"pip install --no-deps basic-pitch==0\.4\.0"):
        transcribe(Clip(torch.zeros(1, 100), RATE_HZ))
