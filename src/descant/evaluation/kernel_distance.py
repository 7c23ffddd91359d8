"""Kernel audio distance (arXiv 2502.15602): the maximum mean discrepancy of two sets of embeddings.

It makes no assumption about the shape of the two distributions and has no bias in small sets, unlike the Frechet
distance.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.errors import InvalidRequest
from descant.evaluation.bootstrap import NUM_RESAMPLES, bootstrap_over_clips
from descant.evaluation.embedded_clips import EmbeddedClips, EmbedderEstimate
from descant.evaluation.statistics import check_same_embedder, check_variation

SCALE = 100.0
"""The unit of published values (kadtk 1.1.0)."""
MAX_BANDWIDTH_WINDOWS = 2_000
"""The windows among which the median distance is taken, evenly spaced over the reference: two million distances."""

_BLOCK_WINDOWS = 1_024


def kernel_audio_distance(
    reference: EmbeddedClips, clips: EmbeddedClips, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> EmbedderEstimate:
    """A hundred times the unbiased squared maximum mean discrepancy, with its interval over the clips of the set.

    The kernel is Gaussian, exp(-|x - y|^2 / 2 s^2), with the median distance between windows of the reference as s, so
    that every set that is compared with a reference is measured by the same kernel. Pairs of windows of one clip are
    left out: they resemble each other, and would make a set seem narrower than it is. In sets of one window per clip
    this is the estimator of the paper. It can be slightly negative, where the sets are as close as two samples of one
    distribution. The reference is not resampled.

    Raises:
        InvalidRequest: different embedders, fewer than two clips in a set, or a set without variation, such as silence
            only.
    """
    check_same_embedder(reference.embedder, clips.embedder)
    for name, given in (("the reference", reference), ("the set", clips)):
        if len(given.clips) < 2:
            raise InvalidRequest(
                f"{name} has {len(given.clips)} clip: a kernel distance needs at least two in each set"
            )
    check_variation(clips)
    bandwidth = median_distance(reference.vectors)
    if bandwidth == 0:
        raise InvalidRequest("half of the reference's windows have the same vector; is most of it silence?")
    of_reference = _KernelSums.between(reference, reference, bandwidth).mean_of_different_clips(
        np.ones(len(reference.clips))
    )
    within = _KernelSums.between(clips, clips, bandwidth)
    across = _KernelSums.between(clips, reference, bandwidth)

    def measure(weights: np.ndarray) -> float:
        return SCALE * (of_reference + within.mean_of_different_clips(weights) - 2 * across.mean(weights))

    return bootstrap_over_clips(measure, len(clips.clips), clips.embedder, num_resamples, seed)


def median_distance(vectors: Float[Tensor, "W D"]) -> float:
    """The median of the distances between windows; of large sets, between evenly spaced windows."""
    if len(vectors) > MAX_BANDWIDTH_WINDOWS:
        vectors = vectors[torch.linspace(0, len(vectors) - 1, MAX_BANDWIDTH_WINDOWS).round().long()]
    return float(np.median(torch.nn.functional.pdist(vectors.double()).numpy()))


class _KernelSums:
    """The sums of the kernel over all pairs of windows, for every pair of a clip with a clip of another set."""

    def __init__(self, sums: Float[Tensor, "clips others"], windows: list[int], other_windows: list[int]) -> None:
        self.sums = sums.numpy()
        self.windows, self.other_windows = np.array(windows, dtype=np.float64), np.array(other_windows)

    @classmethod
    def between(cls, clips: EmbeddedClips, others: EmbeddedClips, bandwidth: float) -> "_KernelSums":
        origin = others.vectors.mean(dim=0)
        rows, columns = clips.vectors - origin, others.vectors - origin
        row_clips, column_clips = _clip_of_each_window(clips), _clip_of_each_window(others)
        sums = torch.zeros(len(clips.clips), len(others.clips), dtype=torch.float64)
        for start in range(0, len(rows), _BLOCK_WINDOWS):
            block = rows[start : start + _BLOCK_WINDOWS]
            squares = block.square().sum(dim=1)[:, None] + columns.square().sum(dim=1) - 2 * block @ columns.T
            kernel = torch.exp(squares.clamp_min(0) / (-2 * bandwidth**2))
            of_others = kernel.new_zeros(len(block), len(others.clips)).index_add_(1, column_clips, kernel)
            sums.index_add_(0, row_clips[start : start + _BLOCK_WINDOWS], of_others)
        windows, other_windows = ([len(clip.vectors) for clip in given.clips] for given in (clips, others))
        return cls(sums, windows, other_windows)

    def mean(self, weights: np.ndarray) -> float:
        """The mean over all pairs, with each clip counted ``weights`` times."""
        return float(weights @ self.sums.sum(axis=1) / (weights @ self.windows * self.other_windows.sum()))

    def mean_of_different_clips(self, weights: np.ndarray) -> float:
        """The mean over the pairs of windows of two different clips of one set."""
        counts = weights * self.windows
        total = weights @ self.sums @ weights - weights**2 @ np.diag(self.sums)
        return float(total / (counts.sum() ** 2 - (counts**2).sum()))


def _clip_of_each_window(clips: EmbeddedClips) -> Int[Tensor, " W"]:
    windows = torch.tensor([len(clip.vectors) for clip in clips.clips])
    return torch.arange(len(windows)).repeat_interleave(windows)
