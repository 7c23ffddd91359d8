"""Clips in memory: their samples, rate, channels and loudness."""

import math

import jaxtyping
import numpy as np
import pytest
import torch

from descant.audio import Clip, integrated_loudness
from descant.errors import InvalidRequest
from tests.audio.clips import noise, sine


class TestClip:
    @pytest.mark.parametrize(
        ("samples", "rate_hz"),
        [
            (torch.zeros(1, 1, 8), 8000),
            (torch.zeros(1, 0), 8000),
            (torch.zeros(0, 8), 8000),
            (torch.full((1, 8), math.nan), 8000),
            (torch.full((1, 8), math.inf), 8000),
            (torch.zeros(1, 8), 0),
            (torch.zeros(1, 8), 1_000_000),
        ],
    )
    def test_what_is_no_sound_is_no_clip(self, samples, rate_hz):
        with pytest.raises((InvalidRequest, jaxtyping.TypeCheckError)):
            Clip(samples, rate_hz)

    @pytest.mark.parametrize("rate_hz", [16_000, 22_050, 44_100, 48_000])
    def test_resampling_keeps_the_sound(self, rate_hz):
        there = sine(440).resample(rate_hz)
        assert there.samples.shape == (1, rate_hz)
        middle = slice(rate_hz // 10, -rate_hz // 10)
        expected = sine(440, rate_hz=rate_hz).samples
        torch.testing.assert_close(there.samples[:, middle], expected[:, middle], rtol=0, atol=1e-3)
        assert there.resample(rate_hz) is there
        for wrong in (0, -1, 10**6):
            with pytest.raises(InvalidRequest, match="rate_hz"):
                there.resample(wrong)

    def test_channels_are_copied_or_averaged(self):
        left_right = Clip(torch.tensor([[0.2, 0.4], [0.0, 0.0]]), 8000)
        mono = left_right.to_channels(1)
        torch.testing.assert_close(mono.samples, torch.tensor([[0.1, 0.2]]))
        assert torch.equal(mono.to_channels(2).samples, mono.samples.expand(2, -1))
        assert left_right.to_channels(2) is left_right
        surround = Clip(torch.rand(6, 50), 8000)
        assert torch.equal(surround.to_channels(1).samples[0], surround.samples.mean(dim=0))
        assert torch.equal(surround.to_channels(2).samples[1], surround.samples.mean(dim=0))
        with pytest.raises(InvalidRequest, match="1 and 2"):
            mono.to_channels(6)

    def test_codes_do_not_outlive_their_samples_but_info_does(self):
        clip = Clip(torch.rand(1, 800), 8000, codes=torch.zeros(4, 5, dtype=torch.int64), info={"a": 1})
        for changed in (clip.resample(16_000), clip.to_channels(2)):
            assert changed.codes is None
            assert changed.info == {"a": 1}


class TestLoudness:
    @pytest.mark.parametrize("rate_hz", [24_000, 32_000, 44_100, 48_000])
    def test_a_full_scale_sine_is_3_lufs_under_zero(self, rate_hz):
        """The calibration of BS.1770-4: 997 Hz at full scale in one channel reads -3.01."""
        mono = sine(997, 3.0, rate_hz)
        assert integrated_loudness(mono.samples, rate_hz) == pytest.approx(-3.01, abs=0.03)
        assert integrated_loudness(mono.samples.repeat(2, 1), rate_hz) == pytest.approx(0.0, abs=0.03)
        assert integrated_loudness(mono.samples / 10, rate_hz) == pytest.approx(-23.01, abs=0.03)

    @pytest.mark.parametrize("frequency_hz", [38, 100, 1000, 10_000])
    def test_the_filter_is_the_standard_s_own(self, frequency_hz):
        """Against the coefficients printed in BS.1770-4, tables 1 and 2, at 48 kHz."""
        z = np.exp(-2j * np.pi * frequency_hz / 48_000)
        shelf = np.polyval([1.19839281085285, -2.69169618940638, 1.53512485958697], z)
        shelf /= np.polyval([0.73248077421585, -1.69065929318241, 1.0], z)
        high_pass = np.polyval([1.0, -2.0, 1.0], z) / np.polyval([0.99007225036621, -1.99004745483398, 1.0], z)
        expected = 20 * np.log10(abs(shelf * high_pass))
        clip = sine(frequency_hz, 4.0, 48_000)
        measured = integrated_loudness(clip.samples, 48_000) + 3.0103 + 0.691
        assert measured == pytest.approx(expected, abs=0.02)

    def test_quiet_parts_do_not_count(self):
        loud = sine(997, 5.0)
        pauses = torch.cat([loud.samples, torch.zeros(1, 320_000), loud.samples * 0.01], dim=1)
        # The blocks that hold a bit of both sides of the edge stay in.
        assert integrated_loudness(pauses, 32_000) == pytest.approx(-3.01, abs=0.3)
        assert integrated_loudness(torch.cat([loud.samples, loud.samples * 0.5], dim=1), 32_000) < -4.5

    def test_chunks_give_the_loudness_of_one_pass(self, monkeypatch):
        clip = noise(2, 3.3)
        whole = integrated_loudness(clip.samples, 32_000)
        monkeypatch.setattr("descant.audio.loudness.CHUNK_S", 1)
        assert integrated_loudness(clip.samples, 32_000) == pytest.approx(whole, abs=1e-9)

    def test_a_normalised_clip_has_that_loudness(self, tmp_path):
        clip = noise(2, 2.0, scale=0.05)
        for lufs in (-14.0, -23.0, -40.0):
            normal = clip.normalize_loudness(lufs)
            assert integrated_loudness(normal.samples, 32_000) == pytest.approx(lufs, abs=1e-3)
        clip.save(tmp_path / "a.wav", loudness=-23.0)
        saved = Clip.read(tmp_path / "a.wav")
        assert integrated_loudness(saved.samples, 32_000) == pytest.approx(-23, abs=0.01)

    def test_the_peak_limits_the_gain(self):
        click = torch.zeros(1, 32_000)
        click[0, 100] = 0.5
        clip = Clip(click + 1e-3 * noise(1, 1.0).samples, 32_000)
        normal = clip.normalize_loudness(-5.0)
        assert normal.samples.abs().max().item() == pytest.approx(0.99)
        torch.testing.assert_close(normal.samples / normal.samples.abs().max(), clip.samples / clip.samples.abs().max())

    def test_silence_stays_silent_and_short_clips_have_a_loudness(self):
        silence = Clip(torch.zeros(2, 32_000), 32_000)
        assert integrated_loudness(silence.samples, 32_000) == -math.inf
        assert silence.normalize_loudness(-14.0) is silence
        assert integrated_loudness(torch.full((1, 1), 0.5), 32_000) > -20
        assert Clip(torch.full((1, 500), 1e30), 32_000).normalize_loudness(-14.0).samples.abs().max() <= 0.99
        with pytest.raises(InvalidRequest, match="loudness=3"):
            silence.normalize_loudness(3.0)
