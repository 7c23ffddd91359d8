import math
from pathlib import Path

import numpy as np
import pytest
import torch

from descant.errors import InvalidRequest
from descant.evaluation.embedded_clips import EmbeddedClip, EmbeddedClips, EmbedderEstimate
from descant.evaluation.frechet import (
    frechet_at_infinity,
    frechet_audio_distance,
    frechet_distance,
    frechet_of_each_clip,
)
from descant.evaluation.statistics import EmbeddingStatistics

DIM = 12
FADTK = Path(__file__).parent / "fadtk"


def gaussian_clips(num_clips, seed, *, shift=0.0, scale=1.0, num_windows=3, dim=DIM):
    """Clips whose windows are draws from one Gaussian, the coordinates of which are correlated."""
    mix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0)) / dim**0.5
    generator = torch.Generator().manual_seed(seed)
    clips = []
    for number in range(num_clips):
        vectors = torch.randn(num_windows, dim, generator=generator) @ mix * scale + shift
        clips.append(EmbeddedClip(f"clip {number}", vectors, None))
    return EmbeddedClips("some embedder", tuple(clips))


def clips_of_lengths(lengths, seed):
    """Clips of so many windows each."""
    vectors = gaussian_clips(1, seed, num_windows=sum(lengths)).clips[0].vectors.split(lengths)
    clips = (EmbeddedClip(f"clip {number}", part, None) for number, part in enumerate(vectors))
    return EmbeddedClips("some embedder", tuple(clips))


def independent_distance(first_mean, first_covariance, second_mean, second_covariance):
    """The textbook formula in float64, by scipy."""
    linalg = pytest.importorskip("scipy.linalg", reason="scipy is not installed")
    root = linalg.sqrtm(first_covariance @ second_covariance)
    step = first_mean - second_mean
    return step @ step + np.trace(first_covariance) + np.trace(second_covariance) - 2 * np.trace(root.real)


def moments(clips):
    vectors = torch.cat([clip.vectors for clip in clips.clips]).double().numpy()
    return vectors.mean(axis=0), np.cov(vectors, rowvar=False)


@pytest.mark.parametrize("dim", [1, 2, 30, 128])
def test_the_distance_is_that_of_numpy_and_scipy(dim):
    reference = gaussian_clips(4 * dim + 4, seed=1, dim=dim)
    clips = gaussian_clips(3 * dim + 4, seed=2, dim=dim, shift=0.2, scale=1.3)
    if dim == 1:
        first, second = moments(reference), moments(clips)
        expected = (first[0] - second[0])[0] ** 2 + (math.sqrt(first[1]) - math.sqrt(second[1])) ** 2
    else:
        expected = independent_distance(*moments(reference), *moments(clips))
    distance = frechet_audio_distance(EmbeddingStatistics.of_clips(reference), clips, num_resamples=2)
    assert distance.value == pytest.approx(expected, rel=1e-6)


def test_gaussians_with_diagonal_covariances_have_a_distance_in_closed_form():
    mean, deviations = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1.0, 2.0, 0.0])
    other_mean, other_deviations = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([3.0, 2.0, 0.5])
    distance = frechet_distance(mean, deviations.square().diag(), other_mean, other_deviations.square().diag())
    expected = (mean - other_mean).square().sum() + (deviations - other_deviations).square().sum()
    assert distance == pytest.approx(expected.item(), rel=1e-9)


def test_the_distance_of_a_set_to_itself_is_zero_also_with_a_singular_covariance():
    clips = gaussian_clips(60, seed=3)
    statistics = EmbeddingStatistics.of_clips(clips)
    assert abs(frechet_audio_distance(statistics, clips, num_resamples=2).value) < 1e-9
    thin = torch.outer(torch.arange(8.0), torch.arange(8.0))
    assert abs(frechet_distance(torch.zeros(8), thin, torch.zeros(8), thin)) < 1e-9 * thin.trace()


def test_the_distance_grows_with_added_noise():
    reference = EmbeddingStatistics.of_clips(gaussian_clips(200, seed=4))
    clean = gaussian_clips(200, seed=5)
    distances = []
    for level in (0.0, 0.5, 1.0, 2.0):
        generator = torch.Generator().manual_seed(6)
        noisy = tuple(
            EmbeddedClip(clip.name, clip.vectors + level * torch.randn(clip.vectors.shape, generator=generator), None)
            for clip in clean.clips
        )
        distances.append(frechet_audio_distance(reference, EmbeddedClips("some embedder", noisy), 2).value)
    assert distances == sorted(distances)
    assert distances[1] > 2 * distances[0]


def test_the_order_of_the_clips_does_not_matter():
    reference = EmbeddingStatistics.of_clips(gaussian_clips(60, seed=7))
    clips = gaussian_clips(60, seed=8)
    turned = EmbeddedClips(clips.embedder, clips.clips[::-1])
    ours, theirs = (frechet_audio_distance(reference, given, num_resamples=2) for given in (clips, turned))
    assert ours.value == pytest.approx(theirs.value, rel=1e-9)


def test_an_estimate_names_its_embedder_and_is_the_same_every_time():
    reference = EmbeddingStatistics.of_clips(gaussian_clips(60, seed=9))
    clips = gaussian_clips(60, seed=10, shift=0.3)
    distance = frechet_audio_distance(reference, clips)
    assert isinstance(distance, EmbedderEstimate)
    assert (distance.embedder, distance.count) == ("some embedder", 60)
    assert distance == frechet_audio_distance(reference, clips)
    assert distance.low < distance.value < distance.high


def test_the_interval_is_as_wide_as_sets_differ_and_narrows_with_the_clips():
    reference = EmbeddingStatistics.of_clips(gaussian_clips(1, seed=11, num_windows=9_000))
    values = [
        frechet_audio_distance(reference, gaussian_clips(100, seed=100 + i, shift=0.2), 2).value for i in range(40)
    ]
    few, many = (frechet_audio_distance(reference, gaussian_clips(n, seed=12, shift=0.2)) for n in (100, 400))
    width = few.high - few.low
    assert 0.7 < width / (2 * 1.96 * np.std(values)) < 1.5
    assert many.high - many.low < 0.7 * width


def test_windows_of_one_clip_do_not_narrow_the_interval():
    """Clips are the independent observations: repeating their windows adds none."""
    reference = EmbeddingStatistics.of_clips(gaussian_clips(1, seed=13, num_windows=1_500))
    clips = gaussian_clips(100, seed=14, shift=0.2, num_windows=2)
    repeated = EmbeddedClips(
        clips.embedder, tuple(EmbeddedClip(clip.name, clip.vectors.repeat(8, 1), None) for clip in clips.clips)
    )
    first, second = (frechet_audio_distance(reference, given) for given in (clips, repeated))
    assert second.high - second.low == pytest.approx(first.high - first.low, rel=0.05)


def test_the_extrapolation_removes_most_of_the_bias_of_a_small_set():
    reference = EmbeddingStatistics.of_clips(gaussian_clips(1, seed=15, num_windows=60_000))
    sets = [gaussian_clips(60, seed=200 + i) for i in range(8)]
    plain = np.mean([frechet_audio_distance(reference, clips, 2).value for clips in sets])
    extrapolated = np.mean([frechet_at_infinity(reference, clips, 2).value for clips in sets])
    assert abs(extrapolated) < plain / 5


@pytest.mark.parametrize("lengths", [[4] * 20 + [52] * 10, [2] * 24 + [92] * 6])
def test_the_extrapolation_is_as_good_for_clips_of_different_lengths(lengths):
    """Parts of equally many clips were taken for parts of equally many windows: distances were far below zero."""
    reference = EmbeddingStatistics.of_clips(gaussian_clips(1, seed=15, num_windows=60_000))
    sets = [clips_of_lengths(lengths, seed=300 + i) for i in range(8)]
    plain = np.mean([frechet_audio_distance(reference, clips, 2).value for clips in sets])
    extrapolated = np.mean([frechet_at_infinity(reference, clips, 2).value for clips in sets])
    assert abs(extrapolated) < plain / 5


def test_a_few_short_clips_among_long_ones_leave_the_interval_defined():
    """The last part was once a single window, which has no covariance."""
    reference = EmbeddingStatistics.of_clips(gaussian_clips(50, 1, num_windows=60))
    found = frechet_at_infinity(reference, clips_of_lengths([100, 100, 100, 100, 1, 1], seed=2))
    assert all(map(math.isfinite, (found.value, found.low, found.high)))
    with pytest.raises(InvalidRequest, match="two groups of whole clips"):
        frechet_at_infinity(reference, clips_of_lengths([100, 100, 1], seed=2))


def test_the_distance_of_each_clip_is_that_of_its_sample_covariance():
    reference = gaussian_clips(60, seed=16)
    clips = gaussian_clips(3, seed=17, num_windows=5)
    of_each = frechet_of_each_clip(EmbeddingStatistics.of_clips(reference), clips)
    for clip in clips.clips:
        # scipy's root of a singular product has only half the digits.
        expected = independent_distance(*moments(reference), *moments(EmbeddedClips("", (clip,))))
        assert of_each[clip.name] == pytest.approx(expected, rel=1e-6)


def test_the_clip_that_is_least_like_the_reference_is_the_farthest():
    clips = gaussian_clips(10, seed=18).clips
    odd = EmbeddedClip("odd", clips[0].vectors + 5, None)
    reference = EmbeddingStatistics.of_clips(gaussian_clips(60, seed=19))
    of_each = frechet_of_each_clip(reference, EmbeddedClips("some embedder", (*clips, odd)))
    assert max(of_each, key=lambda name: of_each[name]) == "odd"


def test_too_few_windows_silence_and_other_embedders_are_refused():
    reference = EmbeddingStatistics.of_clips(gaussian_clips(60, seed=20))
    few = gaussian_clips(4, seed=21)
    with pytest.raises(InvalidRequest, match="12 windows for 12 dimensions"):
        frechet_audio_distance(reference, few)
    with pytest.raises(InvalidRequest, match="the reference has 12 windows"):
        frechet_audio_distance(EmbeddingStatistics.of_clips(few), gaussian_clips(60, seed=22))
    with pytest.raises(InvalidRequest, match="extrapolation needs 48 windows"):
        frechet_at_infinity(reference, gaussian_clips(6, seed=23))
    silent = EmbeddedClips(
        "some embedder", tuple(EmbeddedClip(f"{number}", torch.ones(3, DIM), None) for number in range(60))
    )
    with pytest.raises(InvalidRequest, match="silence"):
        frechet_audio_distance(reference, silent)
    with pytest.raises(InvalidRequest, match="do not compare"):
        frechet_audio_distance(reference, EmbeddedClips("another", gaussian_clips(60, seed=24).clips))
    with pytest.raises(InvalidRequest, match="1 clips"):
        frechet_audio_distance(reference, gaussian_clips(1, seed=25, num_windows=60))
    with pytest.raises(InvalidRequest, match=r"clip 0: .*two windows"):
        frechet_of_each_clip(reference, gaussian_clips(1, seed=26, num_windows=1))


def test_scores_of_single_clips_are_those_shipped_with_fadtk():
    """Real embeddings, hardly Gaussian and nearly singular; `fadtk/README.md` says where they are from."""
    with np.load(FADTK / "cdpam_acoustic.npz") as stored:
        mean, triangle = stored["mean"], stored["triangle"].astype(np.float64)
        scores = dict(zip(stored["names"].tolist(), stored["scores"].tolist(), strict=True))
        clips = tuple(EmbeddedClip(name, torch.from_numpy(stored[name]).float(), None) for name in scores)
    covariance = np.zeros((len(mean), len(mean)))
    covariance[np.triu_indices(len(mean))] = triangle
    covariance = torch.from_numpy(covariance + np.triu(covariance, 1).T)
    # fadtk does not ship the number of windows; the distance of a clip does not depend on it.
    count = 10 * len(mean)
    reference = EmbeddingStatistics("cdpam", count, torch.from_numpy(mean), covariance * (count - 1))
    distances = frechet_of_each_clip(reference, EmbeddedClips("cdpam", clips))
    for name, score in scores.items():
        assert distances[name] == pytest.approx(score, rel=1e-3)


def test_few_long_clips_have_an_extrapolated_distance():
    """Resamples once left parts without clips, whose covariance is not defined."""
    reference = EmbeddingStatistics.of_clips(gaussian_clips(50, 1, num_windows=60))
    found = frechet_at_infinity(reference, gaussian_clips(6, 2, num_windows=100))
    assert math.isfinite(found.low)
    assert math.isfinite(found.high)
