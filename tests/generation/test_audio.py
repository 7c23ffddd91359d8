"""Joins: the prompt is unchanged, and no step is audible."""

import pytest
import torch

from descant.generation.audio import attenuate, crossfade, cut_loop, extrapolate, join

RATE_HZ = 8_000


def tone(num_samples: int, rate_hz: float = 220.0, phase: float = 0.0) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * rate_hz * torch.arange(num_samples) / RATE_HZ + phase)[None]


def largest_step(wave: torch.Tensor) -> float:
    return float(wave.diff(dim=1).abs().max())


@pytest.mark.parametrize("phase", [0.0, 1.0, 3.1])
def test_the_prompt_is_unchanged_and_the_join_has_no_step(phase):
    prompt, decoded = tone(2_000), tone(5_000, phase=phase)
    whole = join(prompt, decoded, RATE_HZ)
    assert whole.shape == decoded.shape
    assert torch.equal(whole[:, :2_000], prompt)
    assert torch.equal(whole[:, 2_160:], decoded[:, 2_160:])
    assert largest_step(whole) <= 1.05 * largest_step(decoded)


def test_a_continuation_shorter_than_the_fade_is_joined_too():
    whole = join(tone(100), tone(103, phase=2.0), RATE_HZ)
    assert whole.shape == (1, 103)
    assert torch.equal(whole[:, :100], tone(100))


@pytest.mark.parametrize("length", [1, 2, 3, 50])
def test_a_prompt_of_a_few_samples_is_joined_too(length):
    assert join(torch.rand(2, length), torch.rand(2, 500), RATE_HZ).isfinite().all()


def test_silence_is_extrapolated_as_silence():
    assert not extrapolate(torch.zeros(1, 800), 160, RATE_HZ).any()


def test_a_tone_is_extrapolated_and_noise_does_not_grow():
    ahead = extrapolate(tone(2_000), 160, RATE_HZ)
    torch.testing.assert_close(ahead, tone(2_160)[:, 2_000:], rtol=0, atol=0.05)
    noise = torch.randn(1, 2_000, generator=torch.Generator().manual_seed(0))
    assert extrapolate(noise, 800, RATE_HZ).abs().max() <= noise.abs().max()


def test_a_loop_passes_from_its_end_to_its_beginning_as_the_music_did():
    wave = tone(12_000, rate_hz=217.3)
    loop = cut_loop(wave[:, :10_000], 2_000, RATE_HZ)
    assert loop.shape == (1, 8_000)
    assert torch.equal(loop[:, :7_840], wave[:, 2_000:9_840])
    assert largest_step(torch.cat([loop, loop], dim=1)) <= 1.05 * largest_step(wave)
    # A mere cut would have a step there.
    cut = wave[:, 2_000:10_000]
    assert largest_step(torch.cat([cut, cut], dim=1)) > 2 * largest_step(wave)


def test_the_continuation_is_attenuated_and_the_prompt_is_not():
    wave = torch.cat([tone(1_000), 4 * tone(3_000)], dim=1)
    quieter = attenuate(wave, 1_000, 0.99, RATE_HZ)
    assert torch.equal(quieter[:, :1_000], wave[:, :1_000])
    torch.testing.assert_close(quieter[:, 1_160:].abs().max(), torch.tensor(0.99))
    assert torch.equal(attenuate(tone(500), 100, 0.99, RATE_HZ), tone(500))


def test_a_crossfade_begins_with_one_sound_and_ends_with_the_other():
    faded = crossfade(torch.ones(1, 100), torch.zeros(1, 100))
    assert faded[0, 0] == 1
    assert faded[0, -1] < 0.001
    assert (faded.diff() <= 0).all()
