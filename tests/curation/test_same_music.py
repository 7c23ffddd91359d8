"""Copies of a recording are found however they were made, and other music is not."""

import pytest
import torch

from descant.audio import Clip
from descant.curation.fingerprints import SAMPLE_RATE_HZ, WINDOW, fingerprint
from descant.curation.same_music import families
from tests.curation.music import RATE_HZ, song

NUM_SONGS = 8


@pytest.fixture(scope="module")
def songs() -> list[Clip]:
    return [song(seed, 12.0, bpm=96 + 6 * seed, tonic=5 * seed % 12) for seed in range(NUM_SONGS)]


def print_of(clip: Clip):
    return fingerprint(clip.to_channels(1).resample(SAMPLE_RATE_HZ).samples[0])


def test_copies_of_every_kind_are_families_and_other_songs_are_not(songs, tmp_path):
    songs[0].save(tmp_path / "copy.mp3")
    delay = torch.zeros(1, round(0.7 * RATE_HZ))
    copies = [
        Clip.read(tmp_path / "copy.mp3"),
        Clip(samples=songs[1].samples * 10 ** (-3 / 20), sample_rate_hz=RATE_HZ),
        Clip(samples=torch.cat([delay, songs[2].samples], dim=1), sample_rate_hz=RATE_HZ),
        songs[3].resample(22_050),
        Clip(samples=songs[4].samples[:, round(3.317 * RATE_HZ) : round(10.2 * RATE_HZ)], sample_rate_hz=RATE_HZ),
    ]
    prints = [print_of(clip) for clip in [*songs, *copies]]
    digests = [str(number) for number in range(len(prints))]
    assert families(prints, digests) == [[number, NUM_SONGS + number] for number in range(len(copies))]


def test_equal_samples_are_a_family_even_without_a_fingerprint():
    short = fingerprint(torch.ones(WINDOW - 1))
    assert len(short.hashes) == 0
    assert families([short, short, short], ["a", "b", "a"]) == [[0, 2]]
    assert families([], []) == []


def test_copies_of_copies_are_one_family(songs):
    wave = songs[5].samples
    early = Clip(samples=wave[:, : 8 * RATE_HZ], sample_rate_hz=RATE_HZ)
    late = Clip(samples=wave[:, 5 * RATE_HZ :], sample_rate_hz=RATE_HZ)
    middle = Clip(samples=wave[:, 2 * RATE_HZ : 11 * RATE_HZ], sample_rate_hz=RATE_HZ)
    prints = [print_of(clip) for clip in (early, songs[6], late, middle)]
    assert families(prints, ["a", "b", "c", "d"]) == [[0, 2, 3]]
