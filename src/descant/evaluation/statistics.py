"""Mean and covariance of embeddings, accumulated in one pass and constant memory."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from descant.audio import Clip
from descant.errors import InvalidRequest
from descant.evaluation.embedded_clips import BATCH_WINDOWS, EmbeddedClips, iterate_embedded
from descant.evaluation.embedders.base import Embedder


@dataclass(frozen=True, eq=False)
class EmbeddingStatistics:
    """The number, mean and scatter of vectors in float64: what a Frechet distance needs of a set, however large.

    The scatter is the sum of the outer products of the deviations from the mean. Statistics of two parts of a set add
    up to those of the whole (Chan, Golub and LeVeque, 1979), so parts can be read in any order and by any number of
    workers, with the same result up to rounding.
    """

    embedder: str
    count: int
    mean: Float[Tensor, " D"]
    scatter: Float[Tensor, "D D"]

    @classmethod
    def of(cls, embedder: str, vectors: Float[Tensor, "W D"]) -> "EmbeddingStatistics":
        """The statistics of one or more vectors."""
        vectors = vectors.double()
        mean = vectors.mean(dim=0)
        deviations = vectors - mean
        return cls(embedder, len(vectors), mean, deviations.T @ deviations)

    @classmethod
    def of_clips(cls, clips: EmbeddedClips) -> "EmbeddingStatistics":
        """The statistics of all windows of a set."""
        return cls.of(clips.embedder, clips.vectors)

    def __add__(self, other: "EmbeddingStatistics") -> "EmbeddingStatistics":
        """The statistics of both sets together.

        Raises:
            InvalidRequest: they are of different embedders.
        """
        check_same_embedder(self.embedder, other.embedder)
        count = self.count + other.count
        step = other.mean - self.mean
        mean = self.mean + step * (other.count / count)
        between = torch.outer(step, step) * (self.count * other.count / count)
        return EmbeddingStatistics(self.embedder, count, mean, self.scatter + other.scatter + between)

    @property
    def dim(self) -> int:
        """The number of values of a vector."""
        return len(self.mean)

    @property
    def covariance(self) -> Float[Tensor, "D D"]:
        """The unbiased covariance.

        Raises:
            InvalidRequest: there is a single vector.
        """
        if self.count < 2:
            raise InvalidRequest("a covariance needs at least two windows; give longer clips or more of them")
        return self.scatter / (self.count - 1)


def embedding_statistics(
    embedder: Embedder, clips: Iterable[tuple[str, Clip]], batch_windows: int = BATCH_WINDOWS
) -> EmbeddingStatistics:
    """The statistics of a set of clips that is read once, and of which only the current clips are in memory.

    Raises:
        InvalidRequest: there are no clips, or one is too short; the message names it.
    """
    total: EmbeddingStatistics | None = None
    for clip in iterate_embedded(embedder, clips, batch_windows):
        new = EmbeddingStatistics.of(embedder.label, clip.vectors)
        total = new if total is None else total + new
    if total is None:
        raise InvalidRequest("a set without clips: there is nothing to measure")
    return total


def check_same_embedder(first: str, second: str) -> None:
    """Refuses to compare vectors of different spaces.

    Raises:
        InvalidRequest: the two labels differ.
    """
    if first != second:
        raise InvalidRequest(f"vectors of {first} and of {second} do not compare; embed both sets with one embedder")


def check_variation(clips: EmbeddedClips) -> None:
    """Refuses a set in which nothing varies.

    Raises:
        InvalidRequest: all windows have the same vector.
    """
    vectors = clips.vectors
    if torch.equal(vectors, vectors[:1].expand_as(vectors)):
        raise InvalidRequest("all windows of the set have the same vector; is it silence only?")
