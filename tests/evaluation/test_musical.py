import math

import pytest
import torch

from descant.audio import Clip
from descant.errors import InvalidRequest
from descant.evaluation import musical
from descant.evaluation.musical import tempo_match

RATE = 22_050
needs_librosa = pytest.mark.skipif(
    not __import__("importlib.util").util.find_spec("librosa"), reason="librosa is not installed"
)


def tone(midi, duration_s):
    time = torch.arange(int(duration_s * RATE)) / RATE
    hz = 440 * 2 ** ((midi - 69) / 12)
    return sum(torch.sin(2 * math.pi * hz * harmonic * time) / harmonic for harmonic in (1, 2, 3)) * 0.2


def clicks(bpm, duration_s=10):
    samples = torch.zeros(duration_s * RATE)
    click = tone(84, 0.05) * torch.linspace(1, 0, int(0.05 * RATE))
    for beat in range(int(duration_s * bpm / 60)):
        start = round(beat * 60 / bpm * RATE)
        samples[start : start + len(click)] += click[: len(samples) - start]
    return Clip(samples=samples[None], sample_rate_hz=RATE)


@needs_librosa
@pytest.mark.parametrize("bpm", [85, 100, 121, 133])
def test_the_tempo_of_clicks_is_estimated_within_one_percent(bpm):
    assert musical.estimate_tempo_bpm(clicks(bpm)) == pytest.approx(bpm, rel=0.01)


@needs_librosa
def test_clicks_are_counted():
    assert musical.onsets_per_second(clicks(120)) == pytest.approx(2, abs=0.2)


@needs_librosa
def test_silence_has_no_tempo_no_key_no_onsets_and_no_flatness():
    silence = Clip(samples=torch.zeros(1, 5 * RATE), sample_rate_hz=RATE)
    assert musical.estimate_tempo_bpm(silence) is None
    assert musical.estimate_key(silence) is None
    assert musical.onsets_per_second(silence) == 0
    assert musical.spectral_flatness(silence) is None


@pytest.mark.parametrize(
    ("estimated", "match"),
    [
        (120.0, "same"), (114.1, "same"), (125.9, "same"), (240.0, "double"), (61.0, "half"), (360.0, "triple"),
        (40.0, "third"), (80.0, "two thirds"), (180.0, "three halves"), (150.0, "other"), (127.0, "other"),
        (None, "other"),
    ],
)  # fmt: skip
def test_an_estimated_tempo_is_named_by_its_ratio_to_the_target(estimated, match):
    assert tempo_match(estimated, 120.0) == match


@needs_librosa
@pytest.mark.parametrize(
    ("chords", "key"),
    [
        (((60, 64, 67), (65, 69, 72), (67, 71, 74), (60, 64, 67)), "C major"),
        (((57, 60, 64), (62, 65, 69), (64, 68, 71), (57, 60, 64)), "A minor"),
    ],
)
def test_the_key_of_a_cadence_is_estimated(chords, key):
    samples = torch.cat([torch.stack([tone(midi, 1) for midi in chord]).sum(dim=0) for chord in chords])
    assert musical.estimate_key(Clip(samples=samples[None] / 3, sample_rate_hz=RATE)) == key


def test_noise_is_flat_and_a_tone_is_not():
    noise = torch.randn(1, 5 * RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    assert musical.spectral_flatness(Clip(samples=noise, sample_rate_hz=RATE)) == pytest.approx(0.56, abs=0.02)
    assert musical.spectral_flatness(Clip(samples=tone(60, 5)[None], sample_rate_hz=RATE)) < 0.01


def test_a_clip_that_is_shorter_than_its_spectrum_is_refused():
    with pytest.raises(InvalidRequest, match=r"1024 samples: .* half a window"):
        musical.spectral_flatness(Clip(samples=torch.ones(1, 1_024), sample_rate_hz=RATE))
