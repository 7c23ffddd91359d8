"""The chromagram against librosa and transformers, and what a melody model hears."""

import numpy as np
import pytest
import torch

from descant.audio import Clip
from descant.conditioning.chroma import (
    MelodyConditioner,
    MelodyConfig,
    chroma_filters,
    chromagram,
    melody_pitches,
    null_pitches,
)
from descant.errors import ConfigError

RATE_HZ = 32_000
SMALL = MelodyConfig(sample_rate_hz=8_000, window_samples=512, hop_samples=128, num_frames=24)


def tone(pitch: int, duration_s: float = 1.0, rate_hz: int = RATE_HZ) -> torch.Tensor:
    """A sine of a pitch class around middle C, 0 for C."""
    times = torch.arange(round(duration_s * rate_hz)) / rate_hz
    return 0.5 * torch.sin(2 * torch.pi * 440 * 2 ** ((pitch - 9) / 12) * times)


def glide(duration_s: float) -> torch.Tensor:
    times = torch.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    noise = torch.randn(len(times), generator=torch.Generator().manual_seed(0))
    return 0.05 * noise + 0.3 * torch.sin(2 * torch.pi * (220 + 80 * torch.sin(times)) * times)


@pytest.mark.parametrize(("rate_hz", "window"), [(32_000, 16_384), (44_100, 4_096), (8_000, 256)])
def test_our_filters_are_librosas(rate_hz, window):
    filters = pytest.importorskip("librosa").filters
    ours = chroma_filters(MelodyConfig(sample_rate_hz=rate_hz, window_samples=window, hop_samples=window // 4))
    theirs = filters.chroma(sr=rate_hz, n_fft=window, tuning=0, n_chroma=12)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=0, atol=1e-6)


def test_the_chromagram_is_its_definition():
    """Windowed power spectra by the book, their sums by class, the strongest class of a frame 1."""
    wave = glide(0.5)[:3_000]
    half = SMALL.window_samples // 2
    padded = np.pad(wave.double().numpy(), half, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SMALL.window_samples) / SMALL.window_samples)
    frames = []
    for start in range(0, len(wave) + 1, SMALL.hop_samples):
        spectrum = np.fft.rfft(padded[start : start + SMALL.window_samples] * window)
        strength = chroma_filters(SMALL).double().numpy() @ (np.abs(spectrum) ** 2 / np.sum(window**2))
        frames.append(strength / max(strength.max(), 1e-6))
    ours = chromagram(wave, SMALL)
    assert ours.shape == (1 + 3_000 // 128, 12)
    np.testing.assert_allclose(ours.numpy(), np.stack(frames), rtol=0, atol=1e-4)


@pytest.mark.parametrize("duration_s", [0.3, 5.0])
def test_our_melody_is_transformers_melody(duration_s):
    pytest.importorskip("torchaudio")
    features = pytest.importorskip("transformers").MusicgenMelodyFeatureExtractor()
    wave = glide(duration_s)
    theirs = features(wave.numpy(), sampling_rate=RATE_HZ, return_tensors="pt").input_features[0]
    assert torch.equal(chromagram(wave, MelodyConfig()).argmax(dim=1), theirs.argmax(dim=1))


def test_thirty_seconds_are_235_frames():
    assert len(chromagram(torch.zeros(30 * RATE_HZ), MelodyConfig())) == 235
    assert MelodyConfig().num_frames == 235


@pytest.mark.parametrize("pitch", range(12))
def test_a_tone_is_heard_as_its_class(pitch):
    clip = Clip(tone(pitch)[None], RATE_HZ)
    assert melody_pitches(clip, MelodyConfig()).tolist() == [pitch] * 235


def test_a_scale_is_heard_in_order():
    config = MelodyConfig(num_frames=40)
    wave = torch.cat([tone(pitch) for pitch in (0, 4, 7, 9, 2)])
    heard = melody_pitches(Clip(wave[None], RATE_HZ), config)
    # One tone lasts 7.8 frames; at its middle nothing else sounds in the window.
    assert [int(heard[round((i + 0.5) * 7.8125)]) for i in range(5)] == [0, 4, 7, 9, 2]


def test_a_short_melody_is_repeated_and_of_a_long_one_the_beginning_heard():
    wave = torch.cat([tone(pitch, 0.2, 8_000) for pitch in (0, 7, 4, 11, 2)])
    whole = chromagram(wave, SMALL).argmax(dim=1)
    short = melody_pitches(Clip(wave[None, :900], 8_000), SMALL)
    assert len(whole) > SMALL.num_frames == len(short)
    assert torch.equal(melody_pitches(Clip(wave[None], 8_000), SMALL), whole[: SMALL.num_frames])
    assert torch.equal(short[:8], short[8:16])
    assert torch.equal(short[:8], short[16:])


def test_silence_is_the_null_melody():
    assert torch.equal(melody_pitches(Clip(torch.zeros(2, RATE_HZ), RATE_HZ), SMALL), null_pitches(SMALL))


def test_a_melody_of_another_rate_and_of_two_channels_is_the_same_melody():
    wave = torch.cat([tone(pitch, 1.0, 44_100) for pitch in (0, 4, 7)])
    stereo = Clip(torch.stack([wave, wave]), 44_100)
    mono = Clip(torch.cat([tone(pitch) for pitch in (0, 4, 7)])[None], RATE_HZ)
    ours, theirs = (melody_pitches(clip, MelodyConfig()) for clip in (stereo, mono))
    assert (ours == theirs).float().mean() > 0.97


def test_the_conditioner_maps_one_hot_frames_and_masks_nothing():
    torch.manual_seed(0)
    conditioner = MelodyConditioner(SMALL, width=6)
    pitches = torch.randint(0, 12, (2, SMALL.num_frames))
    embedding = conditioner(pitches)
    weight, bias = conditioner.project.weight, conditioner.project.bias
    torch.testing.assert_close(embedding.values[1, 3], weight[:, pitches[1, 3]] + bias)
    assert embedding.mask.all()
    assert set(conditioner.state_dict()) == {"project.weight", "project.bias"}


def test_the_null_melody_of_training_is_zeros_of_full_length():
    nothing = MelodyConditioner(SMALL, width=6).nothing(3)
    assert nothing.values.shape == (3, SMALL.num_frames, 6)
    assert not nothing.values.any()
    assert not nothing.mask.any()


@pytest.mark.parametrize("changes", [{"num_frames": 0}, {"hop_samples": 0}, {"window_samples": 511}], ids=str)
def test_a_config_that_cannot_be_is_named(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        MelodyConfig(**changes)
