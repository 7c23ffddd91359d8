import numpy as np
import pytest
import torch

from descant.errors import InvalidRequest
from descant.evaluation.embedded_clips import EmbeddedClip, EmbeddedClips
from descant.evaluation.kernel_distance import MAX_BANDWIDTH_WINDOWS, kernel_audio_distance, median_distance


def clips_around(num_clips, seed, *, shift=0.0, num_windows=1, spread=1.0, dim=5):
    """Clips with a place of their own, whose windows lie around it."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randn(num_clips, 1, dim, generator=generator) + shift
    windows = places + spread * torch.randn(num_clips, num_windows, dim, generator=generator)
    return EmbeddedClips(
        "some embedder", tuple(EmbeddedClip(f"{number}", one, None) for number, one in enumerate(windows))
    )


def independent_distance(reference, clips):
    """The estimator written as sums over pairs, in numpy."""
    x, y = (np.concatenate([clip.vectors.double().numpy() for clip in given.clips]) for given in (reference, clips))
    distances = [np.linalg.norm(x[i] - x[j]) for i in range(len(x)) for j in range(i)]
    gamma = 1 / (2 * np.median(distances) ** 2)

    def kernel(a, b):
        return np.exp(-gamma * ((a - b) ** 2).sum())

    def mean_of_pairs(points, owners):
        pairs = [(i, j) for i in range(len(points)) for j in range(len(points)) if owners[i] != owners[j]]
        return np.mean([kernel(points[i], points[j]) for i, j in pairs])

    owners = [np.repeat(range(len(g.clips)), [len(c.vectors) for c in g.clips]) for g in (reference, clips)]
    across = np.mean([kernel(a, b) for a in x for b in y])
    return 100 * (mean_of_pairs(x, owners[0]) + mean_of_pairs(y, owners[1]) - 2 * across)


@pytest.mark.parametrize("num_windows", [1, 3])
def test_the_distance_is_the_mean_over_pairs_of_windows_of_different_clips(num_windows):
    reference = clips_around(9, seed=1, num_windows=num_windows)
    clips = clips_around(7, seed=2, num_windows=num_windows, shift=0.5)
    distance = kernel_audio_distance(reference, clips, num_resamples=2)
    assert distance.value == pytest.approx(independent_distance(reference, clips), rel=1e-9)


@pytest.mark.parametrize("num_windows", [1, 6])
def test_samples_of_one_distribution_have_distance_zero_on_average_however_small(num_windows):
    values = [
        kernel_audio_distance(
            clips_around(12, seed, num_windows=num_windows, spread=0.3),
            clips_around(12, 100 + seed, num_windows=num_windows, spread=0.3),
            num_resamples=2,
        ).value
        for seed in range(60)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / len(values) ** 0.5


def test_the_distance_of_a_set_to_itself_is_zero_within_its_interval_and_grows_with_noise():
    clips = clips_around(100, seed=3, num_windows=2)
    itself = kernel_audio_distance(clips, clips)
    assert itself.low < 0.5
    assert abs(itself.value) < 2
    generator = torch.Generator().manual_seed(4)
    values = []
    for level in (0.0, 1.0, 2.0, 4.0):
        noisy = tuple(
            EmbeddedClip(clip.name, clip.vectors + level * torch.randn(clip.vectors.shape, generator=generator), None)
            for clip in clips.clips
        )
        values.append(kernel_audio_distance(clips, EmbeddedClips("some embedder", noisy), num_resamples=2).value)
    assert values == sorted(values)


def test_order_does_not_matter_and_results_are_repeatable():
    reference, clips = clips_around(40, seed=5), clips_around(30, seed=6, shift=0.4)
    distance = kernel_audio_distance(reference, clips)
    turned = EmbeddedClips(clips.embedder, clips.clips[::-1])
    assert kernel_audio_distance(reference, turned).value == pytest.approx(distance.value, rel=1e-9)
    assert kernel_audio_distance(reference, clips) == distance
    assert distance.embedder == "some embedder"
    assert distance.low < distance.value < distance.high


def test_the_median_distance_of_a_large_set_is_that_of_evenly_spaced_windows():
    vectors = torch.randn(3 * MAX_BANDWIDTH_WINDOWS, 2, generator=torch.Generator().manual_seed(7))
    assert median_distance(vectors) == pytest.approx(median_distance(vectors[::3]), rel=0.03)
    assert median_distance(torch.tensor([[0.0], [1.0], [3.0]])) == 2


def test_single_clips_silence_and_other_embedders_are_refused():
    reference, clips = clips_around(5, seed=8), clips_around(5, seed=9)
    with pytest.raises(InvalidRequest, match="the set has 1 clip"):
        kernel_audio_distance(reference, clips_around(1, seed=10, num_windows=4))
    silent = EmbeddedClips("some embedder", tuple(EmbeddedClip(f"{n}", torch.zeros(1, 5), None) for n in range(5)))
    for pair in ((silent, clips), (reference, silent)):
        with pytest.raises(InvalidRequest, match="silence"):
            kernel_audio_distance(*pair)
    with pytest.raises(InvalidRequest, match="do not compare"):
        kernel_audio_distance(reference, EmbeddedClips("another", clips.clips))
