"""The paper's melody measure: frames whose loudest pitch class is the same."""

import pytest
import torch

from descant.audio import Clip
from descant.conditioning.chroma import MelodyConfig, chromagram
from descant.evaluation.chroma_cosine import chroma_cosine

RATE_HZ = 32_000


def tune(*keys, rate_hz=RATE_HZ, note_s=1.024):
    time = torch.arange(round(note_s * rate_hz)) / rate_hz
    waves = [torch.sin(2 * torch.pi * 440 * 2 ** ((key - 69) / 12) * time) for key in keys]
    return Clip(samples=0.3 * torch.cat(waves)[None], sample_rate_hz=rate_hz)


def test_a_clip_agrees_with_itself_in_other_rates_channels_octaves_and_levels():
    clip = tune(60, 64, 67, 72)
    stereo = clip.to_channels(2)
    quiet = Clip(samples=0.01 * clip.samples, sample_rate_hz=RATE_HZ)
    for other in (clip, stereo, quiet, clip.resample(44_100), clip.resample(16_000), tune(72, 76, 79, 84)):
        assert chroma_cosine(other, clip) == pytest.approx(1)


def test_half_of_the_notes_are_half_of_the_frames_but_for_those_between():
    half = chroma_cosine(tune(60, 61, 67, 68), tune(60, 64, 67, 71))
    assert half == pytest.approx(0.5, abs=0.05)
    assert chroma_cosine(tune(61, 62, 63), tune(60, 64, 67)) == 0


def test_it_is_the_share_of_equal_classes():
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(1, 100_000, generator=generator).cumsum(dim=1) / 1_000 for _ in range(2))
    classes = [chromagram(wave[0], MelodyConfig())[:25].argmax(dim=1) for wave in (first, second)]
    expected = (classes[0] == classes[1]).float().mean().item()
    assert chroma_cosine(Clip(first, RATE_HZ), Clip(second, RATE_HZ)) == pytest.approx(expected)


def test_the_shorter_length_counts():
    assert chroma_cosine(tune(60, 64), tune(60, 64, 61, 61, 61)) == pytest.approx(1, abs=0.07)
    fifty_ms = Clip(samples=tune(64).samples[:, :1_600], sample_rate_hz=RATE_HZ)
    assert chroma_cosine(fifty_ms, tune(64, 65)) == 1


def test_silence_is_a_c():
    silence = Clip(samples=torch.zeros(1, 3 * RATE_HZ), sample_rate_hz=RATE_HZ)
    assert chroma_cosine(silence, silence) == 1
    assert chroma_cosine(silence, tune(60, 72, 48)) == 1
    assert chroma_cosine(silence, tune(61, 73, 49)) == 0
