"""Framed spectra, and waves found from magnitudes alone."""

import pytest
import torch

from descant.codec.phase import FramedSTFT, running_turns
from descant.codec.phase_shape import MOMENTUM
from descant.codec.phase_stream import WaveStream, find_wave

RATE = 8_000


def tones(*pitches_hz: float, num_samples: int = 160 * 50) -> torch.Tensor:
    time_s = torch.arange(num_samples) / RATE
    return 0.2 * torch.stack([torch.sin(2 * torch.pi * pitch * time_s) for pitch in pitches_hz]).sum(dim=0)[None]


@pytest.mark.parametrize(("window", "hop"), [(320, 80), (320, 160), (1_280, 320), (2_048, 640), (6, 2)])
@pytest.mark.parametrize("num_spectra", [1, 2, 7])
def test_what_is_analysed_is_synthesised_again(window, hop, num_spectra):
    stft, samples = FramedSTFT(window, hop), torch.randn(2, num_spectra * hop)
    spectra = stft.analyze(samples)
    assert spectra.shape == (2, num_spectra, window // 2 + 1)
    torch.testing.assert_close(stft.synthesize(spectra), samples, rtol=0, atol=1e-4)


def test_a_full_scale_sine_has_magnitude_one_in_its_bin():
    samples = torch.sin(2 * torch.pi * 20 * torch.arange(3_200) / 320)[None]
    spectra = FramedSTFT(320, 80).analyze(samples)[0, 10:-10].abs()
    torch.testing.assert_close(spectra[:, 20], torch.ones(len(spectra)), rtol=0, atol=1e-3)
    assert (spectra.argmax(dim=1) == 20).all()


def found_in_one_pass(stft: FramedSTFT, magnitudes: torch.Tensor, iterations: int) -> torch.Tensor:
    """Fast Griffin-Lim as its paper writes it, whole spectrograms at a time."""
    spectra = torch.polar(
        magnitudes, 2 * torch.pi * running_turns(stft, magnitudes, torch.zeros_like(magnitudes[:, 0]))
    )
    before = torch.zeros_like(spectra)
    for _ in range(iterations):
        found = stft.analyze(stft.synthesize(spectra))
        accelerated = found - MOMENTUM / (1 + MOMENTUM) * before
        spectra, before = torch.polar(magnitudes, accelerated.angle()), found
    return stft.synthesize(spectra)


@pytest.mark.parametrize(("window", "hop"), [(320, 80), (320, 160), (2_048, 640), (512, 160)])
@pytest.mark.parametrize("iterations", [0, 1, 5])
@pytest.mark.parametrize("num_spectra", [1, 3, 40])
def test_rounds_in_chunks_are_griffin_lim_over_the_whole(window, hop, iterations, num_spectra):
    stft = FramedSTFT(window, hop).double()  # rounds magnify the rounding of float32
    waves = torch.cat([tones(433.3, num_samples=num_spectra * hop), tones(95.0, 700.0, num_samples=num_spectra * hop)])
    magnitudes = stft.analyze(waves.double()).abs() + 1e-3
    expected = found_in_one_pass(stft, magnitudes, iterations)
    torch.testing.assert_close(find_wave(stft, magnitudes, iterations), expected, rtol=0, atol=1e-9)


def test_a_stream_of_waves_goes_on_outside_of_inference_mode():
    stft, magnitudes = FramedSTFT(512, 160), torch.rand(1, 20, 257)
    stream = WaveStream(stft, 2)
    with torch.inference_mode():
        beginning = stream.push(magnitudes[:, :10], is_last=False)
    wave = torch.cat([beginning, stream.push(magnitudes[:, 10:], is_last=True)], dim=-1)
    torch.testing.assert_close(wave, find_wave(stft, magnitudes, 2), rtol=0, atol=1e-5)


def test_a_wave_found_from_magnitudes_has_these_magnitudes():
    stft, wave = FramedSTFT(512, 160), tones(440.0, 553.7, 1_210.0)
    target = stft.analyze(wave).abs()
    errors = [
        float((stft.analyze(find_wave(stft, target, rounds)).abs() - target).norm() / target.norm())
        for rounds in (1, 4, 16)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.1


def test_a_held_note_keeps_its_pitch_though_its_period_is_no_frame():
    stft, pitch_hz = FramedSTFT(512, 160), 433.3
    found = find_wave(stft, stft.analyze(tones(pitch_hz)).abs(), 16)[0, 800:-800]
    spectrum = torch.fft.rfft(found * torch.hann_window(len(found)), n=16 * len(found)).abs()
    heard_hz = float(spectrum.argmax()) * RATE / (16 * len(found))
    assert abs(heard_hz - pitch_hz) < 0.5
    near = torch.arange(len(spectrum)) * RATE / (16 * len(found)) - pitch_hz
    assert spectrum[near.abs() < 5].square().sum() > 0.95 * spectrum.square().sum(), "one line, not a comb of them"


def test_a_row_of_a_batch_is_found_as_it_is_alone():
    stft = FramedSTFT(512, 160)
    magnitudes = stft.analyze(torch.cat([tones(440.0), tones(95.0, 700.0)])).abs()
    alone = torch.cat([find_wave(stft, row[None], 8) for row in magnitudes])
    assert torch.equal(find_wave(stft, magnitudes, 8), alone)


@pytest.mark.parametrize("size", [1, 7, 33])
def test_chunks_of_spectra_give_the_bits_of_the_whole(size):
    stft, magnitudes = FramedSTFT(2_048, 640), torch.rand(1, 40, 1_025)
    stream = WaveStream(stft, 8)
    chunks = [stream.push(chunk, is_last=False) for chunk in magnitudes.split(size, dim=1)]
    wave = torch.cat([*chunks, stream.push(magnitudes[:, :0], is_last=True)], dim=-1)
    assert torch.equal(wave, find_wave(stft, magnitudes, 8))


def test_silence_is_found_silent():
    assert not find_wave(FramedSTFT(512, 160), torch.zeros(1, 5, 257), 3).any()
