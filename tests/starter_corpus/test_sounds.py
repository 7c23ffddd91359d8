"""Sounds of the parts: presets that exist, amplifiers and rooms that do not vary over time."""

import random
import shutil
import struct
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from descant.errors import MissingExtra
from starter_corpus import programs
from starter_corpus.effects import AMPLIFIERS, ROOMS, amplify, in_room
from starter_corpus.instruments import PROGRAMS
from starter_corpus.performance import MACHINE, draw_feel, perform
from starter_corpus.render import find_soundfont
from starter_corpus.score import FRAME_SAMPLES, Font, Note, Part, locked_samples_per_beat
from starter_corpus.sounds import draw_room, draw_sounds
from starter_corpus.styles import STYLES

PERIOD = 32_000
GENRES = sorted({style.genre for style in STYLES})


def tone(seconds: int) -> np.ndarray:
    """A chord that is struck every second."""
    times = np.arange(seconds * PERIOD) / PERIOD
    decay = np.exp(-4 * (times % 1))
    return (decay * (np.sin(2 * np.pi * 220 * times) + np.sin(2 * np.pi * 330 * times))).astype(np.float32) / 2


@pytest.fixture
def sox():
    if shutil.which("sox") is None:
        pytest.skip("needs the program sox")


@pytest.mark.usefixtures("sox")
@pytest.mark.parametrize("name", AMPLIFIERS)
def test_what_repeats_still_repeats_through_an_amplifier(name):
    played = amplify(tone(5), name)
    assert played.shape == (5 * PERIOD,)
    last, before = played[3 * PERIOD + 1_000 : 4 * PERIOD], played[2 * PERIOD + 1_000 : 3 * PERIOD]
    np.testing.assert_allclose(last, before, atol=1e-4 * abs(last).max())


@pytest.mark.usefixtures("sox")
def test_distortion_adds_overtones_and_a_clean_amplifier_does_not():
    times = np.arange(3 * PERIOD) / PERIOD
    held = (np.sin(2 * np.pi * 220 * times) + np.sin(2 * np.pi * 330 * times)).astype(np.float32) / 2

    def overtones(samples: np.ndarray) -> float:
        """The share of the power that is neither of the two tones, each of which is within 2 Hz."""
        power = abs(np.fft.rfft(samples[PERIOD : 2 * PERIOD] * np.hanning(PERIOD))) ** 2
        tones = power[218:223].sum() + power[328:333].sum()
        return float(1 - tones / power.sum())

    found = {name: overtones(amplify(held, name)) for name in ("clean", "crunch", "high gain")}
    assert found["clean"] < 0.01
    assert found["crunch"] > 0.1
    assert found["high gain"] > 0.1


@pytest.mark.usefixtures("sox")
@pytest.mark.parametrize("name", ROOMS)
def test_a_room_rings_after_the_music_and_a_dry_one_does_not(name):
    samples = np.concatenate([tone(1), np.zeros(PERIOD, dtype=np.float32)])
    wet = in_room(samples, name)
    assert abs(wet[PERIOD + 1_000 : PERIOD + 4_000]).max() > 1e-4
    np.testing.assert_array_equal(in_room(samples, "dry"), samples)


def test_silence_stays_silence():
    silence = np.zeros(100, dtype=np.float32)
    np.testing.assert_array_equal(amplify(silence, "clean"), silence)
    np.testing.assert_array_equal(in_room(silence, "hall"), silence)


def test_a_missing_program_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(programs.shutil, "which", lambda _: None)
    with pytest.raises(MissingExtra, match="apt install sox"):
        amplify(tone(1), "clean")


def presets_of(file: Path) -> set[tuple[int, int]]:
    """(bank, preset) of every preset header of a soundfont (SoundFont 2.04, section 7.2)."""
    content = file.read_bytes()
    start = content.rindex(b"phdr")
    (size,) = struct.unpack_from("<I", content, start + 4)
    headers = [struct.unpack_from("<20sHH", content, start + 8 + place) for place in range(0, size - 38, 38)]
    return {(bank, preset) for _, preset, bank in headers}


@pytest.mark.usefixtures("synthesizer")
def test_every_sound_that_can_be_drawn_is_in_its_soundfont():
    parts = [Part(program=program, role="chords", notes=()) for program in PROGRAMS]
    parts.append(Part(program=0, role="drums", notes=(), is_drums=True))
    drawn = {
        part.sound
        for genre in GENRES
        for seed in range(5)
        for part in draw_sounds(parts, genre, random.Random(f"{genre} {seed}"))
    }
    assert {sound.amplifier for sound in drawn} == {None, *AMPLIFIERS}
    for font in get_args(Font):
        presets = {(sound.bank, sound.preset) for sound in drawn if sound.font == font}
        assert len(presets) > 100
        assert presets <= presets_of(find_soundfont(font=font))


def test_parts_of_one_program_share_a_sound_and_a_seed_means_one_sound():
    parts = [Part(program=27, role=role, notes=()) for role in ("chords", "lead")]
    first, again = (draw_sounds(parts, "rock", random.Random(3)) for _ in range(2))
    assert first == again
    assert first[0].sound == first[1].sound
    assert len({draw_sounds(parts, "rock", random.Random(seed))[0].sound for seed in range(30)}) > 4


@pytest.mark.parametrize("genre", GENRES)
def test_every_genre_has_rooms_that_exist(genre):
    assert {draw_room(random.Random(seed), genre) for seed in range(30)} <= {"dry", *ROOMS}


def test_a_player_deviates_a_little_and_keeps_chords_together():
    notes = tuple(Note(onset, 400, pitch, 80) for onset in range(0, 15_360, 480) for pitch in (60, 64, 67))
    feel = draw_feel(random.Random(2), "chords")
    beat = locked_samples_per_beat(25)
    played = perform(notes, feel, beat, 15_360, seed=1)
    assert played == perform(notes, feel, beat, 15_360, seed=1)
    assert played != perform(notes, feel, beat, 15_360, seed=2)
    assert perform(notes, MACHINE, beat, 15_360, seed=1) == notes
    moved = [after.onset - before.onset for before, after in zip(notes, played, strict=True)]
    late_s = np.array(moved) * 25 * FRAME_SAMPLES / 960 / 32_000
    assert 0.001 < late_s.std() < 0.012
    assert abs(late_s).max() < 0.05
    assert all(len({moved[3 * count + string] for string in range(3)}) == 1 for count in range(32))
    assert min(note.onset for note in played) >= 0
    assert len({note.velocity for note in played}) > 3
