import math
from shutil import which

import pytest
import torch

from descant.audio import Clip
from descant.errors import InvalidRequest, MissingExtra
from descant.evaluation.codec_quality import codebook_usage, log_mel_distance, opus_round_trip, si_sdr_db

RATE = 32_000


@pytest.fixture
def wave():
    time = torch.arange(2 * RATE) / RATE
    chirp = torch.sin(2 * math.pi * (200 * time + 1_500 * time**2))
    return (chirp * 0.3 + torch.randn(2 * RATE, generator=torch.Generator().manual_seed(1)) * 0.01)[None]


def noise(wave, seed=0):
    return torch.randn(wave.shape, generator=torch.Generator().manual_seed(seed))


def test_the_log_mel_distance_is_zero_for_equal_waves_only(wave):
    assert log_mel_distance(wave, wave.clone(), RATE) == 0
    assert log_mel_distance(wave, wave + 0.001 * noise(wave), RATE) > 0


def test_a_change_of_level_is_its_decibels_of_log_mel_distance(wave):
    assert log_mel_distance(wave, wave * 0.5, RATE) == pytest.approx(20 * math.log10(2), rel=0.01)


def test_silence_below_the_floor_is_equal_to_silence():
    quiet = 1e-6 * noise(torch.zeros(1, RATE))
    assert log_mel_distance(quiet, torch.zeros(1, RATE), RATE) == 0


def test_content_above_the_highest_frequency_is_ignored(wave):
    time = torch.arange(wave.shape[-1]) / RATE
    whistled = wave + 0.1 * torch.sin(2 * math.pi * 12_000 * time)
    assert log_mel_distance(wave, whistled, RATE) > 0.3
    assert log_mel_distance(wave, whistled, RATE, highest_hz=4_000.0) < 0.1


def test_si_sdr_does_not_change_with_the_scale_of_the_estimate(wave):
    estimate = wave + 0.05 * noise(wave)
    assert si_sdr_db(wave, 0.1 * estimate) == pytest.approx(si_sdr_db(wave, estimate), abs=1e-3)
    assert si_sdr_db(wave, -estimate) == pytest.approx(si_sdr_db(wave, estimate), abs=1e-3)


def test_si_sdr_of_orthogonal_noise_is_the_ratio_of_the_energies(wave):
    reference = wave - wave.mean()
    other = noise(wave)
    other = other - other.mean()
    other = other - (other * reference).sum() / reference.square().sum() * reference
    other = other * (reference.norm() / other.norm()) / 10
    assert si_sdr_db(reference, reference + other) == pytest.approx(20, abs=1e-2)


def test_si_sdr_of_the_reference_itself_is_infinite(wave):
    assert si_sdr_db(wave, 2 * wave) == math.inf


def test_a_silent_reference_is_refused(wave):
    with pytest.raises(InvalidRequest, match="silent"):
        si_sdr_db(torch.zeros_like(wave), wave)


@pytest.mark.skipif(
    not (which("opusenc") and which("opusdec")), reason="opus-tools (opusenc, opusdec) are not installed"
)
def test_more_bits_bring_opus_nearer(wave):
    clip = Clip(samples=wave, sample_rate_hz=RATE)
    coarse, fine = opus_round_trip(clip, 6), opus_round_trip(clip, 96)
    assert coarse.clip.samples.shape == fine.clip.samples.shape == wave.shape
    assert coarse.kilobits_per_second < fine.kilobits_per_second
    assert si_sdr_db(wave, fine.clip.samples) > si_sdr_db(wave, coarse.clip.samples)
    assert log_mel_distance(wave, fine.clip.samples, RATE) < log_mel_distance(wave, coarse.clip.samples, RATE)


@pytest.mark.parametrize(
    "measure", [si_sdr_db, lambda reference, estimate: log_mel_distance(reference, estimate, RATE)]
)
def test_waves_of_unequal_shapes_are_refused(wave, measure):
    with pytest.raises(InvalidRequest, match="differ in shape"):
        measure(wave, wave[:, 1:])


def test_missing_opus_tools_are_named(wave, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(MissingExtra, match="opus-tools"):
        opus_round_trip(Clip(samples=wave, sample_rate_hz=RATE))


def test_a_clip_beyond_full_scale_is_refused(wave):
    if not which("opusenc"):
        pytest.skip("opus-tools are not installed")
    with pytest.raises(InvalidRequest, match="full scale"):
        opus_round_trip(Clip(samples=10 * wave, sample_rate_hz=RATE))


def test_usage_of_even_and_of_single_codes():
    codes = torch.stack([torch.arange(64).repeat(4), torch.full((256,), 3)])
    even, single = codebook_usage(codes, codebook_size=128)
    assert (even.share_used, even.perplexity) == (0.5, pytest.approx(64))
    assert (single.share_used, single.perplexity) == (1 / 128, pytest.approx(1))


def test_usage_of_a_batch_is_that_of_its_concatenated_rows():
    codes = torch.randint(0, 32, (5, 3, 40), generator=torch.Generator().manual_seed(0))
    assert codebook_usage(codes, 32) == codebook_usage(torch.cat(list(codes), dim=-1), 32)
