"""Frechet audio distance (arXiv 1812.08466): how far the embeddings of two sets are apart, seen as two Gaussians."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.errors import InvalidRequest
from descant.evaluation.bootstrap import NUM_RESAMPLES, bootstrap_over_clips
from descant.evaluation.embedded_clips import EmbeddedClips, EmbedderEstimate
from descant.evaluation.statistics import EmbeddingStatistics, check_same_embedder, check_variation

MAX_PARTS = 6
"""The most parts that ``frechet_at_infinity`` divides a set into."""
PART_WINDOWS_PER_DIM = 2
"""The fewest windows of a part for every dimension; with fewer, the bias is no longer proportional to 1/N."""


def frechet_distance(
    first_mean: Float[Tensor, " D"],
    first_covariance: Float[Tensor, "D D"],
    second_mean: Float[Tensor, " D"],
    second_covariance: Float[Tensor, "D D"],
) -> float:
    """The squared Frechet distance of two Gaussians, in float64.

    It is |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^1/2). The last trace is the sum of the singular values of the product of
    square roots of C1 and C2, which needs no root of a matrix that is not symmetric, and no small number on the
    diagonal when a covariance is singular.
    """
    return _distance(first_mean, _root(first_covariance), second_mean, _root(second_covariance))


def frechet_audio_distance(
    reference: EmbeddingStatistics, clips: EmbeddedClips, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> EmbedderEstimate:
    """The Frechet audio distance of a set to a reference, with its interval over the clips of the set.

    It is biased upwards, the more the fewer windows there are: compare sets of equal size, or use
    ``frechet_at_infinity``. The reference is taken as it is and not resampled.

    Raises:
        InvalidRequest: different embedders, fewer windows than dimensions in one of the sets, or a set without
            variation, such as silence only.
    """
    _check(reference, clips)
    root = _root(reference.covariance)
    centred = _WeightedSet(clips)

    def measure(weights: np.ndarray) -> float:
        mean, covariance = centred.moments(weights)
        return _distance(reference.mean, root, mean, _root(covariance))

    return bootstrap_over_clips(measure, len(clips.clips), clips.embedder, num_resamples, seed)


def frechet_at_infinity(
    reference: EmbeddingStatistics, clips: EmbeddedClips, num_resamples: int = 50, seed: int = 0
) -> EmbedderEstimate:
    """The Frechet audio distance extrapolated to infinitely many windows of the set (arXiv 2311.01616, 1911.07023).

    The bias is proportional to 1/N. The distance is measured with all N windows, with halves, thirds and so on, down to
    parts of twice as many windows as dimensions but no smaller than a sixth, and a line over 1/N is continued to 0. The
    parts of one size are disjoint and have whole clips, drawn with a fixed seed, long and short ones alike; their
    distances are averaged, and so are their 1/N. ``fadtk`` draws windows with replacement instead, which is not
    repeatable and adds bias of its own.

    Raises:
        InvalidRequest: as ``frechet_audio_distance``, or there are no two parts with two windows per dimension each.
    """
    _check(reference, clips)
    root = _root(reference.covariance)
    centred = _WeightedSet(clips)
    windows = centred.windows.numpy()
    order = np.random.default_rng(seed).permutation(len(windows))
    # From the longest to the shortest, so that every n-th of them are about as many windows.
    order = order[np.argsort(-windows[order], kind="stable")]
    num_parts = _num_parts(windows[order], PART_WINDOWS_PER_DIM * reference.dim)
    if num_parts < 2:
        raise InvalidRequest(
            f"{clips.num_windows} windows in {len(clips.clips)} clips: over {reference.dim} dimensions the "
            f"extrapolation needs {2 * PART_WINDOWS_PER_DIM * reference.dim} windows, half of them in each of two "
            "groups of whole clips; give more clips"
        )

    def measure(weights: np.ndarray) -> float:
        inverse_sizes, distances = [], []
        # The clips that were drawn are divided, not their places: a part could otherwise be empty.
        drawn = np.repeat(order, weights[order].astype(int))
        for parts in range(1, num_parts + 1):
            of_parts = []
            for start in range(parts):
                part = np.bincount(drawn[start::parts], minlength=len(weights)).astype(np.float64)
                mean, covariance = centred.moments(part)
                of_parts.append((1 / (part @ windows), _distance(reference.mean, root, mean, _root(covariance))))
            inverse_size, distance = np.mean(of_parts, axis=0)
            inverse_sizes.append(inverse_size)
            distances.append(distance)
        return float(np.polyfit(inverse_sizes, distances, deg=1)[1])

    return bootstrap_over_clips(measure, len(clips.clips), clips.embedder, num_resamples, seed)


def _num_parts(windows: Int[np.ndarray, " clips"], fewest: int) -> int:
    """The most parts of every n-th clip of which each has enough windows, and two in a resample of the shortest clips.

    Args:
        windows: from the longest clip to the shortest.
    """
    enough = (
        parts
        for parts in range(MAX_PARTS, 0, -1)
        if min(int(windows[start::parts].sum()) for start in range(parts)) >= fewest
        and len(windows) // parts * windows[-1] >= 2
    )
    return next(enough, 0)


def frechet_of_each_clip(reference: EmbeddingStatistics, clips: EmbeddedClips) -> dict[str, float]:
    """The Frechet distance of each clip alone to the reference, by name, to find the clips that are least like it.

    A clip has fewer windows than dimensions, so its covariance is singular and the value is biased: it ranks clips with
    equally many windows, and does not compare with the distance of a set (arXiv 2311.01616, section 4).

    Raises:
        InvalidRequest: different embedders, a reference with fewer windows than dimensions, or a clip with a single
            window.
    """
    _check_reference(reference, clips)
    root = _root(reference.covariance)
    distances = {}
    for clip in clips.clips:
        if len(clip.vectors) < 2:
            raise InvalidRequest(f"{clip.name}: a distance of a single clip needs at least two windows of audio")
        vectors = clip.vectors.double()
        mean = vectors.mean(dim=0)
        # Any factor of the covariance serves as its root, and this one is as short as the clip.
        factor = (vectors - mean) / (len(vectors) - 1) ** 0.5
        distances[clip.name] = _distance(reference.mean, root, mean, factor)
    return distances


class _WeightedSet:
    """The vectors of a set, whose mean and covariance are wanted with every clip counted several times or not."""

    def __init__(self, clips: EmbeddedClips) -> None:
        vectors = clips.vectors
        # Around the mean of all, so that no digits are lost where the mean is large against the spread.
        self.origin = vectors.mean(dim=0)
        self.vectors = vectors - self.origin
        self.windows = torch.tensor([len(clip.vectors) for clip in clips.clips])

    def moments(self, weights: np.ndarray) -> tuple[Float[Tensor, " D"], Float[Tensor, "D D"]]:
        of_windows = torch.from_numpy(weights).repeat_interleave(self.windows)
        count = of_windows.sum()
        mean = of_windows @ self.vectors / count
        scatter = (self.vectors * of_windows[:, None]).T @ self.vectors - count * torch.outer(mean, mean)
        return self.origin + mean, scatter / (count - 1)


def _distance(
    first_mean: Float[Tensor, " D"],
    first_root: Float[Tensor, "R D"],
    second_mean: Float[Tensor, " D"],
    second_root: Float[Tensor, "S D"],
) -> float:
    """The squared distance, from factors R of the covariances R'R."""
    traces = first_root.square().sum() + second_root.square().sum()
    overlap = torch.linalg.svdvals(first_root @ second_root.T).sum()
    return ((first_mean - second_mean).square().sum() + traces - 2 * overlap).item()


def _root(covariance: Float[Tensor, "D D"]) -> Float[Tensor, "D D"]:
    values, vectors = torch.linalg.eigh(covariance.double())
    return values.clamp_min(0).sqrt()[:, None] * vectors.T


def _check(reference: EmbeddingStatistics, clips: EmbeddedClips) -> None:
    _check_reference(reference, clips)
    if clips.num_windows <= reference.dim:
        raise InvalidRequest(_too_few("the set", clips.num_windows, reference.dim))
    check_variation(clips)


def _check_reference(reference: EmbeddingStatistics, clips: EmbeddedClips) -> None:
    check_same_embedder(reference.embedder, clips.embedder)
    if reference.count <= reference.dim:
        raise InvalidRequest(_too_few("the reference", reference.count, reference.dim))


def _too_few(name: str, count: int, dim: int) -> str:
    return (
        f"{name} has {count} windows for {dim} dimensions: a Frechet distance needs more windows than dimensions, and "
        f"some {10 * dim} to mean much; give more clips, or use the kernel distance, which is unbiased for small sets"
    )
