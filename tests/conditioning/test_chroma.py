"""The chromagram against librosa and transformers."""

import numpy as np
import pytest
import torch

from descant.conditioning.chroma import MelodyConfig, chroma_filters, chromagram
from descant.errors import ConfigError

RATE_HZ = 32_000
SMALL = MelodyConfig(sample_rate_hz=8_000, window_samples=512, hop_samples=128, num_frames=24)


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


@pytest.mark.parametrize("changes", [{"num_frames": 0}, {"hop_samples": 0}, {"window_samples": 511}], ids=str)
def test_an_invalid_config_is_refused_by_its_field(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        MelodyConfig(**changes)
