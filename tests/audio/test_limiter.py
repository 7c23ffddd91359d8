"""A clip is brought to a loudness, and its true peak stays below the limit."""

import pytest
import torch

from descant.audio import Clip, integrated_loudness
from descant.audio.limiter import match_loudness
from descant.errors import AudioError
from descant.evaluation.signal_checks import measure_signal

RATE_HZ = 32_000


def noise(seconds: float = 2.0, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(2, round(seconds * RATE_HZ), generator=torch.Generator().manual_seed(seed))


def drums() -> torch.Tensor:
    """Quiet noise with a loud decaying burst four times a second: a crest factor that gain alone cannot serve."""
    time_s = torch.arange(2 * RATE_HZ) / RATE_HZ
    return noise() * (0.05 + 3 * torch.exp(-40 * (time_s % 0.25)))


@pytest.mark.parametrize(
    "samples", [noise(), 0.01 * noise(), drums(), noise(0.3)], ids=["loud", "quiet", "drums", "short"]
)
def test_a_clip_gets_the_loudness_and_its_true_peak_stays_below_the_limit(samples):
    matched, _ = match_loudness(Clip(samples, RATE_HZ), -14.0, -1.0)
    assert integrated_loudness(matched.samples, RATE_HZ) == pytest.approx(-14, abs=0.1)
    assert measure_signal(matched).true_peak_db <= -1


def test_a_clip_that_needs_no_limiter_is_only_scaled():
    samples = 0.05 * torch.sin(0.1 * torch.arange(2 * RATE_HZ))[None]
    matched, reduction_db = match_loudness(Clip(samples, RATE_HZ), -14.0, -1.0)
    assert reduction_db == 0
    ratio = matched.samples[samples != 0] / samples[samples != 0]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))


def test_the_limiter_reports_its_reduction():
    _, reduction_db = match_loudness(Clip(drums(), RATE_HZ), -14.0, -1.0)
    assert 1 < reduction_db < 12


@pytest.mark.parametrize(("samples", "says"), [(torch.zeros(1, RATE_HZ), "silent"), ("click", "peaks are too high")])
def test_a_clip_that_cannot_have_the_loudness_is_refused(samples, says):
    if isinstance(samples, str):
        samples = torch.zeros(1, 2 * RATE_HZ)
        samples[0, ::RATE_HZ] = 1.0
    with pytest.raises(AudioError, match=says):
        match_loudness(Clip(samples, RATE_HZ), -14.0, -1.0)
