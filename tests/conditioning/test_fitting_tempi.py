"""Tempi on whose beats given moments fall."""

from collections import Counter

import numpy as np
import pytest

from descant.checkpoints.native import starter_folder
from descant.checkpoints.prior_file import read_prior
from descant.conditioning.fitting_tempi import TOLERANCE_S, fitting_tempi


def late_s(moments_s: list[float], bpm: float) -> float:
    """How far the moment that is furthest from a beat is from it."""
    beats = np.array(moments_s) * bpm / 60
    return float(np.abs(beats - beats.round()).max() * 60 / bpm)


@pytest.mark.parametrize(
    ("moments_s", "tempi"),
    [
        ([2.0], [60.0, 90.0, 120.0, 150.0, 180.0]),
        ([2.0, 4.0, 6.0], [60.0, 90.0, 120.0, 150.0, 180.0]),
        ([1.5, 3.0, 4.0], [120.0]),
        ([3.43, 6.86, 10.29], [52.48, 69.97, 87.46, 104.96, 122.45, 139.94, 157.43, 174.93]),
        ([0.2], []),
        ([1.0, 1.55, 2.1], []),
    ],
)
def test_all_moments_fall_on_beats(moments_s, tempi):
    assert fitting_tempi(moments_s, 45.0, 188.0).tolist() == tempi
    assert all(late_s(moments_s, bpm) <= TOLERANCE_S for bpm in tempi)


@pytest.mark.parametrize("bpm", [48.0, 73.0, 97.3, 120.0, 166.7])
def test_the_tempo_that_moments_were_written_in_is_among_them(bpm):
    beats = [4, 8, 10, 12, 61]
    moments_s = [round(beat * 60 / bpm, 2) for beat in beats]
    assert np.abs(fitting_tempi(moments_s, 45.0, 188.0) - bpm).min() < 0.05


def test_the_prior_draws_fitting_tempi_as_often_as_the_text_makes_those_around_them():
    prior = read_prior(starter_folder()).tempo_key
    slow, fast = (
        Counter(prior.draw(text, seed, [2.0, 4.0])[0].bpm for seed in range(200))
        for text in ("a slow sad ballad", "fast punk rock")
    )
    assert set(slow) | set(fast) <= {60.0, 90.0, 120.0, 150.0, 180.0}
    assert slow.most_common(1)[0][0] == 60.0
    assert fast.most_common(1)[0][0] >= 150.0
    whole = [prior.draw("jazz", seed)[0].bpm for seed in range(400)]
    # One change after a long time fits nearly all tempi, and then hardly changes their distribution.
    nearly_all = [prior.draw("jazz", seed, [120.0])[0].bpm for seed in range(400)]
    np.testing.assert_allclose(np.percentile(nearly_all, [10, 50, 90]), np.percentile(whole, [10, 50, 90]), rtol=0.05)


def test_a_tempo_that_a_text_states_is_kept():
    prior = read_prior(starter_folder()).tempo_key
    assert prior.draw("piano, 77 bpm", 3, [2.0])[0].bpm == 77.0
