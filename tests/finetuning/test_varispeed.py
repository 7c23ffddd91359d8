"""Copies of songs at other speeds: how they sound, what is said of them, and that only trained songs have them."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import descant
from descant.audio import Clip, audio_header
from descant.data.corpus import read_corpus
from descant.data.manifest import ClipRecord
from descant.errors import ConfigError
from descant.finetuning.config import FineTuneRun
from descant.finetuning.music import Music, prepare_music
from descant.finetuning.varispeed import Copy, copies_of

RATE_HZ = 8_000
UP = 2 ** (1 / 12)


def song(file: Path, pitch_hz: float = 440.0, duration_s: float = 6.0, num_channels: int = 1) -> ClipRecord:
    seconds = np.arange(int(duration_s * RATE_HZ)) / RATE_HZ
    wave = 0.3 * np.sin(2 * np.pi * pitch_hz * seconds)
    soundfile.write(file, np.stack([wave, *([-0.5 * wave] * (num_channels - 1))], axis=1), RATE_HZ)
    return ClipRecord(path=file, duration_s=duration_s, sample_rate_hz=RATE_HZ, num_channels=num_channels)


def pitch_of(clip: Clip) -> float:
    """The frequency of the strongest partial of the first channel, in hertz."""
    spectrum = torch.fft.rfft(clip.samples[0]).abs()
    return float(spectrum.argmax()) / clip.duration_s


@pytest.mark.parametrize("semitones", [-2.0, 1.0])
def test_a_copy_has_all_of_the_song_in_another_pitch_and_duration(tmp_path, semitones):
    (copy,) = copies_of([song(tmp_path / "song.wav", num_channels=2)], [semitones], tmp_path / "copies", ())
    copy.write()
    clip, speed = Clip.read(copy.record.path), 2 ** (semitones / 12)
    assert pitch_of(clip) == pytest.approx(440 * speed, rel=0.01)
    assert clip.duration_s == pytest.approx(6 / speed, rel=0.01)
    assert clip.duration_s == pytest.approx(copy.record.duration_s, abs=1e-3)
    assert torch.allclose(clip.samples, Clip.read(tmp_path / "song.wav").samples, atol=1e-6)


def test_what_is_said_of_a_copy_holds_at_its_speed(tmp_path):
    tags = {"bpm": 120.0, "key": "B minor", "genre": "folk", "chords": "C | G"}
    captions = ("a calm folk tune", "folk at 120 bpm", "a tune in B minor")
    record = replace(song(tmp_path / "song.wav"), captions=captions, tags=tags)
    fields = ("key", "bpm", "genre")
    up, down, quarter = copies_of([record], [1.0, -3.0, 0.5], tmp_path, fields)
    speed = up.record.sample_rate_hz / RATE_HZ
    assert speed == pytest.approx(UP, rel=0.01)
    assert up.record.tags == {"bpm": round(120 * speed, 1), "key": "C minor", "genre": "folk"}
    assert down.record.tags["key"] == "Ab minor"
    assert "key" not in quarter.record.tags
    assert up.record.captions == ("a calm folk tune",)


@pytest.mark.parametrize("tags", [{"bpm": "fast", "key": "Am or C"}, {"bpm": True, "key": 3}])
def test_what_cannot_be_read_as_tempo_or_key_is_not_said_of_a_copy(tmp_path, tags):
    (copy,) = copies_of([replace(song(tmp_path / "song.wav"), tags=tags)], [1.0], tmp_path, ("bpm", "key"))
    assert copy.record.tags == {}


@pytest.fixture
def songs(tmp_path) -> Path:
    folder = tmp_path / "songs"
    folder.mkdir()
    for number, name in enumerate(("dawn", "noon", "dusk")):
        song(folder / f"{name}.wav", 220.0 * (number + 1))
    return folder


def prepared(songs: Path, out_dir: Path, semitones: tuple[float, ...] = (-1.0, 1.0)) -> Music:
    codec = descant.load("tiny").model.codec
    return prepare_music(songs, out_dir, codec, 0.15, note=lambda _: None, varispeed=semitones)


def test_songs_that_are_trained_on_have_copies_and_held_out_ones_have_none(songs, tmp_path):
    music = prepared(songs, tmp_path / "out")
    assert sorted(record.split for record in music.records) == ["train", "train", "valid"]
    clips = read_corpus(music.tokens).clips
    assert sorted(clip.split for clip in clips) == ["train"] * 6 + ["valid"]
    assert not (tmp_path / "out" / "copies").exists(), "their files are needed only while they are encoded"


def test_the_codes_of_a_copy_are_those_of_the_song_at_its_speed(songs, tmp_path):
    tokens = prepared(songs, tmp_path / "out", (1.0,)).tokens
    codec = descant.load("tiny").model.codec
    faster_hz = round(RATE_HZ * UP / 100) * 100
    expected = []
    for record in prepared(songs, tmp_path / "out", (1.0,)).records:
        if record.split == "train":
            wave = Clip(Clip.read(record.path).samples, faster_hz).to_channels(codec.num_channels)
            expected.append(codec.encode(wave.resample(codec.sample_rate_hz).samples[None])[0])
    corpus = read_corpus(tokens)
    found = [corpus.codes(number) for number in range(len(corpus.clips))]
    for codes in expected:
        assert any(codes.shape == one.shape and torch.equal(codes, one.long()) for one in found)


def test_a_second_call_encodes_only_copies_of_songs_that_have_changed(songs, tmp_path, monkeypatch):
    prepared(songs, tmp_path / "out")
    written: list[str] = []
    write = Copy.write

    def counted(copy: Copy) -> None:
        written.append(copy.song.path.name)
        write(copy)

    monkeypatch.setattr(Copy, "write", counted)
    music = prepared(songs, tmp_path / "out")
    assert written == []
    changed = next(record.path for record in music.records if record.split == "train")
    song(changed, 330.0)
    os.utime(changed, ns=(1, 1))
    tokens = prepared(songs, tmp_path / "out").tokens
    assert written == [changed.name] * 2
    assert len(read_corpus(tokens).clips) == 7


def test_an_interrupted_call_loses_nothing(songs, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("descant.finetuning.music.COPIES_AT_ONCE", 1)
        calls, write = [], Copy.write

        def stopped(copy: Copy) -> None:
            calls.append(copy)
            if len(calls) == 3:
                copy.record.path.write_bytes(b"half of a file")
                raise KeyboardInterrupt
            write(copy)

        patch.setattr(Copy, "write", stopped)
        with pytest.raises(KeyboardInterrupt):
            prepared(songs, tmp_path / "out")
    whole, continued = (read_corpus(prepared(songs, tmp_path / name).tokens) for name in ("whole", "out"))
    # Names of copies are the same, since the songs' files are.
    assert {Path(clip.id).name for clip in continued.clips} == {Path(clip.id).name for clip in whole.clips}
    assert not (tmp_path / "out" / "copies").exists()


def test_a_copy_of_a_wav_with_samples_beyond_one_is_written(tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.full(RATE_HZ, 1.5), RATE_HZ, subtype="FLOAT")
    record = ClipRecord(path=tmp_path / "loud.wav", duration_s=1.0, sample_rate_hz=RATE_HZ, num_channels=1)
    (copy,) = copies_of([record], [1.0], tmp_path / "copies", ())
    copy.write()
    assert audio_header(copy.record.path).num_samples == RATE_HZ
    assert Clip.read(copy.record.path).samples.max() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("shifts", [(0.0,), (13.0,), (1.0, 1.0), (float("nan"),)], ids=str)
def test_shifts_that_make_no_copy_are_refused(shifts):
    with pytest.raises(ConfigError, match="varispeed"):
        FineTuneRun(varispeed=shifts)
