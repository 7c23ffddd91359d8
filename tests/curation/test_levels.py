"""Each fault of a signal is measured where it was put in, and not in the music without it."""

import pytest
import torch

from descant.audio import Clip
from descant.curation import levels
from descant.curation.levels import MONO_RATE_HZ, measure_levels
from tests.curation.music import RATE_HZ, song


@pytest.fixture(scope="module")
def music() -> Clip:
    return song(0, 6.0)


@pytest.fixture
def measured(tmp_path):
    def measure(samples, rate_hz=RATE_HZ, suffix="wav"):
        Clip(samples=samples, sample_rate_hz=rate_hz).save(tmp_path / f"clip.{suffix}")
        return measure_levels(tmp_path / f"clip.{suffix}")[0]

    return measure


def test_music_in_order_has_no_fault(music, measured):
    found = measured(music.samples.repeat(2, 1))
    assert found.num_channels == 2
    assert found.num_samples == music.samples.shape[1]
    assert found.silent_share == 0
    assert found.clipped_share < 1e-4
    assert found.dc_offset < 1e-3
    assert found.dead_channels == ()
    assert found.correlation == pytest.approx(1)
    assert found.bandwidth_hz == RATE_HZ / 2
    assert found.ending_db < -20


def test_silence_is_counted_in_time(music, measured):
    samples = music.samples.clone()
    samples[:, RATE_HZ : 4 * RATE_HZ] = 0
    found = measured(samples)
    assert found.silent_share == pytest.approx(0.5, abs=0.05)
    assert found.longest_silence_s == pytest.approx(3, abs=0.2)


@pytest.mark.parametrize("top", [0.5, 1.0])
def test_a_clipped_wave_is_found_at_any_level(music, measured, top):
    assert measured((top * music.samples * 8).clamp(-top, top) * 0.999).clipped_share > 0.01


def test_an_offset_is_measured(music, measured):
    assert measured(music.samples + 0.05).dc_offset == pytest.approx(0.05, abs=0.002)


def test_a_dead_and_an_inverted_channel_are_found(music, measured):
    silent = torch.zeros_like(music.samples)
    assert measured(torch.cat([music.samples, silent])).dead_channels == (1,)
    assert measured(torch.cat([music.samples, -0.8 * music.samples])).correlation == pytest.approx(-1)
    assert measured(music.samples).correlation is None


@pytest.mark.parametrize("source_hz", [8_000, 11_025, 16_000])
@pytest.mark.parametrize("rate_hz", [32_000, 44_100])
def test_an_upsampled_file_ends_at_the_rate_that_it_came_from(music, measured, source_hz, rate_hz):
    samples = music.resample(source_hz).resample(rate_hz).samples
    assert measured(samples, rate_hz).bandwidth_hz == pytest.approx(source_hz / 2, rel=0.1)


def test_an_end_in_mid_sound_is_loud(music, measured):
    assert measured(music.samples[:, : round(2.02 * RATE_HZ)]).ending_db > -10
    # What a lossy encoder adds behind it changes nothing.
    cut = torch.nn.functional.pad(music.samples[:, : round(2.02 * RATE_HZ)], (0, RATE_HZ // 20))
    assert measured(cut).ending_db > -10


@pytest.mark.parametrize("beyond_s", [-0.01, 0.0, 0.02, 0.3])
def test_an_end_in_mid_sound_is_loud_wherever_parts_end(music, measured, monkeypatch, beyond_s):
    """The silence that an encoder adds was once all of the last part, and hid the cut before it."""
    length = round((4 + beyond_s) * RATE_HZ)
    cut = torch.nn.functional.pad(music.samples[:, 4_000 : length - RATE_HZ // 20 + 4_000], (0, RATE_HZ // 20))
    whole = measured(cut).ending_db
    monkeypatch.setattr(levels, "PART_S", 4)
    assert measured(cut).ending_db == pytest.approx(whole, abs=0.1)
    assert whole > -20


@pytest.mark.parametrize("offset", [0.0, 0.02, 0.1])
def test_silence_after_a_cut_is_no_sound_whatever_the_mean_before_it(measured, offset):
    """What was left of slow waves and offsets in the silence once counted as sound that had faded."""
    time = torch.arange(2 * RATE_HZ) / RATE_HZ
    slow = 0.3 * torch.sin(2 * torch.pi * 440 * time) + 0.1 * torch.sin(2 * torch.pi * 0.7 * time) + offset
    cut = torch.nn.functional.pad(slow, (0, RATE_HZ // 33))
    assert measured(cut[None]).ending_db > -3


def test_a_long_file_is_measured_in_parts_as_in_one(music, measured, monkeypatch, tmp_path):
    samples = torch.cat([music.samples.repeat(1, 4), 0.3 * music.samples.repeat(1, 4)])
    with monkeypatch.context() as patch:
        patch.setattr(levels, "PART_S", 60)
        whole = measured(samples)
        mono = measure_levels(tmp_path / "clip.wav")[1]
    monkeypatch.setattr(levels, "PART_S", 7)
    in_parts, mono_in_parts = measure_levels(tmp_path / "clip.wav")
    assert in_parts.digest == whole.digest
    for name in ("level_db", "silent_share", "dc_offset", "correlation", "ending_db", "bandwidth_hz"):
        assert getattr(in_parts, name) == pytest.approx(getattr(whole, name), abs=1e-6), name
    torch.testing.assert_close(mono_in_parts, mono, rtol=0, atol=1e-6)
    resampled = Clip(samples=samples, sample_rate_hz=RATE_HZ).to_channels(1).resample(MONO_RATE_HZ).samples[0]
    assert (mono[: len(resampled)] - resampled).abs().max() < 1e-3


def test_the_digest_is_that_of_the_samples(music, measured):
    whole = measured(music.samples)
    assert measured(music.samples, suffix="flac").digest == whole.digest
    assert measured(music.samples, rate_hz=16_000).digest != whole.digest
