"""Planted faults of the signal are found, at any level and in any number of channels."""

import math
from dataclasses import replace

import pytest
import torch

from descant.audio import Clip
from descant.evaluation.signal_checks import SignalLimits, find_faults, measure_signal

RATE_HZ = 32_000


def sine(duration_s=4.0, hz=440.0, amplitude=0.2):
    time = torch.arange(round(duration_s * RATE_HZ), dtype=torch.float64) / RATE_HZ
    return (amplitude * torch.sin(2 * math.pi * hz * time)).float()


def music(duration_s=4.0):
    """Tones that never repeat exactly."""
    return sum(sine(duration_s, hz, 0.08) for hz in (110.3, 277.9, 441.7, 1_033.1))


def clip_of(*channels):
    return Clip(samples=torch.stack(channels), sample_rate_hz=RATE_HZ)


def faults_of(*channels):
    return [fault.measure for fault in find_faults(measure_signal(clip_of(*channels)))]


def test_music_has_no_faults():
    measures = measure_signal(clip_of(music(), music()))
    assert find_faults(measures) == []
    assert measures.clipped_share < 1e-4
    assert (measures.silent_share, measures.longest_silence_s, measures.dead_channels) == (0, 0, ())


def test_levels_are_those_of_a_sine():
    measures = measure_signal(clip_of(sine(hz=997.0, amplitude=0.5)))
    assert measures.sample_peak_db == pytest.approx(-6.02, abs=0.01)
    assert measures.true_peak_db == pytest.approx(-6.02, abs=0.05)
    assert measures.loudness_lufs == pytest.approx(-3.01 - 6.02, abs=0.1)


def test_a_peak_between_samples_is_found():
    """A sine at a quarter of the rate, sampled at 45 degrees, never reaches its amplitude."""
    time = torch.arange(4 * RATE_HZ, dtype=torch.float64)
    samples = 0.5 * torch.sin(math.pi / 2 * time + math.pi / 4)
    samples *= (time / 400).clamp(max=1) * ((len(time) - 1 - time) / 400).clamp(max=1)
    measures = measure_signal(clip_of(samples.float()))
    assert measures.sample_peak_db == pytest.approx(20 * math.log10(0.5 / math.sqrt(2)), abs=0.01)
    assert measures.true_peak_db == pytest.approx(-6.02, abs=0.1)


def test_true_peaks_of_a_long_clip_are_those_of_its_parts():
    """It is measured in parts of 30 s with 0.1 s around them, whose edges, here crests, must not count as steps."""
    samples = sine(62.0, hz=1_644.25 / 29.9, amplitude=0.5)
    samples *= ((len(samples) - 1 - torch.arange(len(samples))) / 400).clamp(max=1)
    assert measure_signal(clip_of(samples)).true_peak_db == pytest.approx(-6.02, abs=0.01)


@pytest.mark.parametrize("gain", [0.01, 0.5, 2.0])
@pytest.mark.parametrize("step", [None, 2**-15])
def test_clipping_is_found_at_any_level(gain, step):
    clipped = music().clamp(-0.15, 0.15)
    if step is not None:
        clipped = (clipped / step).round() * step
    expected = (music().abs() >= 0.15).double().mean().item()
    measures = measure_signal(clip_of(gain * clipped))
    assert measures.clipped_share == pytest.approx(expected, rel=0.2)
    assert "clipped_share" in [fault.measure for fault in find_faults(measures)]


def test_single_peaks_of_the_same_height_are_not_clipped():
    samples = 0.5 * music()
    samples[::100] = 0.5
    samples[1::100] = 0.5
    assert measure_signal(clip_of(samples)).clipped_share == 0


def test_clipping_of_one_side_in_one_channel_is_found():
    measures = measure_signal(clip_of(music(), music().clamp(max=0.15)))
    expected = (music() >= 0.15).double().mean().item() / 2
    assert measures.clipped_share == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("gain", [0.01, 1.0])
def test_silences_are_measured(gain):
    pause = torch.zeros(round(2.5 * RATE_HZ))
    samples = gain * torch.cat([music(1.0), pause, music(1.0), pause[:RATE_HZ], music(0.5)])
    measures = measure_signal(clip_of(samples, samples))
    assert measures.longest_silence_s == pytest.approx(2.5, abs=0.1)
    assert measures.silent_share == pytest.approx(3.5 / 6, abs=0.02)
    assert {"silent_share", "longest_silence_s"} <= set(faults_of(samples))


def test_an_offset_a_dead_channel_and_levels_are_faults():
    assert faults_of(music() + 0.05) == ["dc_offset"]
    assert faults_of(music(), torch.zeros(4 * RATE_HZ)) == ["dead_channels"]
    assert measure_signal(clip_of(music(), torch.zeros(4 * RATE_HZ), music() * 1e-4)).dead_channels == (1, 2)
    assert faults_of(0.001 * music()) == ["loudness_lufs"]
    assert faults_of(8 * music()) == ["loudness_lufs", "true_peak_db"]


def test_silence_throughout_is_one_fault():
    measures = measure_signal(clip_of(torch.zeros(100), torch.zeros(100)))
    assert measures.silent_share == 1
    assert [fault.message for fault in find_faults(measures)] == ["silent throughout"]


def test_limits_are_the_callers():
    measures = measure_signal(clip_of(music() + 0.05))
    assert find_faults(measures, replace(SignalLimits(), max_dc_offset=0.1)) == []
    fault = find_faults(measures)[0]
    assert (fault.limit, fault.message) == (0.01, "offset of 0.050 of full scale, above 0.01")


def test_a_single_sample_is_measured():
    assert measure_signal(clip_of(torch.tensor([0.5]))).sample_peak_db == pytest.approx(-6.02, abs=0.01)
