"""Sets of clips as vectors of an embedder, which the distances compare."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from descant.audio import Clip
from descant.errors import InvalidRequest, naming
from descant.evaluation.embedders.base import Embedder, LabelEmbedder
from descant.evaluation.report import Estimate

BATCH_WINDOWS = 4
"""Larger batches are slower on a CPU: their layers no longer fit its caches."""


@dataclass(frozen=True)
class EmbedderEstimate(Estimate):
    """An estimate, and the embedder that it was made with; values of different embedders do not compare."""

    embedder: str


@dataclass(frozen=True, eq=False)
class EmbeddedClip:
    """The vectors of a clip's windows, and the distributions of its labels if the embedder has labels."""

    name: str
    vectors: Float[Tensor, "W D"]
    label_probabilities: Float[Tensor, "parts labels"] | None


@dataclass(frozen=True, eq=False)
class EmbeddedClips:
    """A set of clips, each with a name of its own, as vectors of one embedder."""

    embedder: str
    clips: tuple[EmbeddedClip, ...]

    def __post_init__(self) -> None:
        if not self.clips:
            raise InvalidRequest("a set without clips: there is nothing to measure")
        seen: set[str] = set()
        for clip in self.clips:
            if clip.name in seen:
                raise InvalidRequest(f"two clips are named {clip.name!r}; every clip needs a name of its own")
            seen.add(clip.name)
            if not torch.isfinite(clip.vectors).all():
                raise InvalidRequest(f"{clip.name}: its vectors by {self.embedder} are not finite")

    @property
    def num_windows(self) -> int:
        """The windows of all clips."""
        return sum(len(clip.vectors) for clip in self.clips)

    @property
    def vectors(self) -> Float[Tensor, "W D"]:
        """The vectors of all windows in float64, clip by clip."""
        return torch.cat([clip.vectors for clip in self.clips]).double()

    def by_name(self) -> dict[str, EmbeddedClip]:
        """The clips by their names."""
        return {clip.name: clip for clip in self.clips}


def embed_clips(
    embedder: Embedder, clips: Iterable[tuple[str, Clip]], batch_windows: int = BATCH_WINDOWS
) -> EmbeddedClips:
    """The clips as vectors.

    Args:
        clips: names and clips; read one at a time, so that a generator keeps only one in memory.

    Raises:
        InvalidRequest: there are none, a name occurs twice, or a clip is too short; the message names it.
    """
    return EmbeddedClips(embedder.label, tuple(iterate_embedded(embedder, clips, batch_windows)))


def iterate_embedded(
    embedder: Embedder, clips: Iterable[tuple[str, Clip]], batch_windows: int = BATCH_WINDOWS
) -> Iterator[EmbeddedClip]:
    """The clips as vectors, one at a time and in order; a batch has windows of several clips.

    Raises:
        InvalidRequest: a clip is too short; the message names it.
    """
    waiting: list[tuple[str, int]] = []
    windows: list[Tensor] = []
    outputs: list[tuple[Tensor, Tensor | None]] = []
    for name, clip in clips:
        with naming(name):
            new = embedder.windows(clip)
        waiting.append((name, len(new)))
        windows += new
        while batch := _full_batch(windows, batch_windows):
            del windows[: len(batch)]
            outputs += _embedded(embedder, batch)
        yield from _finished(embedder, waiting, outputs)
    while windows:
        batch = _full_batch(windows, batch_windows) or windows[:]
        del windows[: len(batch)]
        outputs += _embedded(embedder, batch)
    yield from _finished(embedder, waiting, outputs)


def _full_batch(windows: list[Tensor], size: int) -> list[Tensor]:
    """The first windows of equal length if no more of them can follow in this batch, else none."""
    equal = next((i for i, window in enumerate(windows) if len(window) != len(windows[0])), len(windows))
    return windows[: min(size, equal)] if equal >= size or equal < len(windows) else []


def _embedded(embedder: Embedder, windows: list[Tensor]) -> list[tuple[Tensor, Tensor | None]]:
    waves = torch.stack(windows)
    if isinstance(embedder, LabelEmbedder):
        vectors, logits = embedder.embed_and_label(waves)
        return list(zip(vectors, logits, strict=True))
    return [(vector, None) for vector in embedder.embed(waves)]


def _finished(
    embedder: Embedder, waiting: list[tuple[str, int]], outputs: list[tuple[Tensor, Tensor | None]]
) -> Iterator[EmbeddedClip]:
    """The clips whose windows are all embedded, removed from both lists."""
    while waiting and waiting[0][1] <= len(outputs):
        name, count = waiting.pop(0)
        of_clip = outputs[:count]
        del outputs[:count]
        probabilities = None
        if isinstance(embedder, LabelEmbedder):
            logits = torch.stack([logits for _, logits in of_clip if logits is not None])
            probabilities = embedder.label_probabilities(logits)
        yield EmbeddedClip(name, torch.stack([vector for vector, _ in of_clip]), probabilities)
