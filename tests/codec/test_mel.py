import pytest
import torch

from descant.codec.mel import MelSpectrogram, hz_to_mel, mel_filters, mel_to_hz

librosa = pytest.importorskip("librosa", reason="librosa")


@pytest.mark.parametrize("scale", ["slaney", "htk"])
def test_mels_and_hertz_are_inverse(scale):
    hz = torch.linspace(0, 16_000, 101, dtype=torch.float64)
    torch.testing.assert_close(mel_to_hz(hz_to_mel(hz, scale), scale), hz, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", ["slaney", "htk"])
@pytest.mark.parametrize("has_unit_area", [True, False])
def test_our_filters_are_librosas(scale, has_unit_area):
    ours = mel_filters(
        sample_rate_hz=32_000,
        window=512,
        num_mels=40,
        f_min_hz=64.0,
        f_max_hz=12_000.0,
        scale=scale,
        has_unit_area=has_unit_area,
    )
    theirs = librosa.filters.mel(
        sr=32_000,
        n_fft=512,
        n_mels=40,
        fmin=64,
        fmax=12_000,
        htk=scale == "htk",
        norm="slaney" if has_unit_area else None,
    )
    torch.testing.assert_close(ours.T, torch.from_numpy(theirs), rtol=1e-5, atol=1e-7)


def test_a_tone_is_loudest_in_its_own_band():
    filters = mel_filters(sample_rate_hz=8_000, window=512, num_mels=30)
    tone = torch.sin(2 * torch.pi * 1_000 / 8_000 * torch.arange(4_000))
    loudest = MelSpectrogram(512, filters)(tone.reshape(1, 1, -1)).mean(dim=(0, 1, 2)).argmax()
    in_own_band = filters[64].argmax()  # bin 64 of 512 at 8 kHz is 1 kHz
    assert loudest == in_own_band


def test_normalised_magnitudes_do_not_grow_with_the_window():
    wave = torch.randn(1, 1, 16_000, generator=torch.Generator().manual_seed(0))
    levels = [
        MelSpectrogram(window, torch.eye(window // 2 + 1), is_normalized=True)(wave).mean().item()
        for window in (64, 1_024)
    ]
    assert levels[0] == pytest.approx(levels[1], rel=0.05)
