"""Embedders: frozen networks that turn windows of audio into vectors, for distances between sets of clips.

A clip is cut into windows in one way only, so that its vectors never depend on chance, on the batch, or on other clips.
What becomes of the audio after the last whole window is each model's own convention, stated in its file.
"""

from abc import ABC, abstractmethod
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from descant.audio import Clip
from descant.errors import InvalidRequest
from descant.evaluation.embedders.weights import WeightsFile

Rest = Literal["dropped", "overlapping", "shorter"]
"""The audio after the last whole window: it is dropped, or becomes a window that ends where the clip ends and overlaps
the one before it (if at least half of it is new), or becomes a shorter window."""


class Embedder(ABC):
    """A frozen network with a name, the checksum of its weights, and one vector per window.

    The audio it takes is mono at ``sample_rate_hz``, in windows of ``window_samples`` that begin ``hop_samples`` apart.
    """

    name: str
    weights: WeightsFile
    sample_rate_hz: int
    window_samples: int
    hop_samples: int
    dim: int
    shortest_s: float
    """Clips shorter than this are refused."""
    rest: Rest

    @property
    def label(self) -> str:
        """The name, the file and the first digits of the file's checksum: results with other labels do not compare."""
        return f"{self.name} ({self.weights.name}, sha256 {self.weights.sha256[:12]})"

    def windows(self, clip: Clip) -> list[Float[Tensor, " N"]]:
        """The windows of a clip in order, all of ``window_samples`` unless the model takes shorter ones.

        Raises:
            InvalidRequest: the clip is too short for one.
        """
        if clip.duration_s < self.shortest_s:
            raise InvalidRequest(f"a clip of {clip.duration_s:.2f} s: {self.name} needs at least {self.shortest_s:g} s")
        return cut(self.mono(clip), self.window_samples, self.hop_samples, self.rest)

    def mono(self, clip: Clip) -> Float[Tensor, " N"]:
        """The clip as the model takes it: the mean of its channels, at the model's rate."""
        return clip.to_channels(1).resample(self.sample_rate_hz).samples[0].cpu()

    @abstractmethod
    def embed(self, waves: Float[Tensor, "W N"]) -> Float[Tensor, "W D"]:
        """The vectors of windows of equal length, in float32 on the CPU."""


class LabelEmbedder(Embedder):
    """An embedder whose network also classifies what it hears."""

    @abstractmethod
    def embed_and_label(self, waves: Float[Tensor, "W N"]) -> tuple[Float[Tensor, "W D"], Float[Tensor, "W labels"]]:
        """The vectors of windows of equal length, and the logits of the labels."""

    def embed(self, waves: Float[Tensor, "W N"]) -> Float[Tensor, "W D"]:
        return self.embed_and_label(waves)[0]

    def label_probabilities(self, logits: Float[Tensor, "W labels"]) -> Float[Tensor, "parts labels"]:
        """The distributions of labels that describe a clip, from the logits of its windows; here one per window."""
        return torch.softmax(logits.double(), dim=1)


class TextEmbedder(Embedder):
    """An embedder with texts in the space of its vectors, which have length 1."""

    @abstractmethod
    def embed_text(self, text: str) -> Float[Tensor, " D"]:
        """The vector of a text, of length 1.

        Raises:
            InvalidRequest: the text is longer than the model reads.
        """


def cut(wave: Float[Tensor, " N"], size: int, hop: int, rest: Rest) -> list[Float[Tensor, " window"]]:
    """Windows of ``size`` samples, one every ``hop``; of a wave that is shorter, the wave itself."""
    starts = list(range(0, max(1, len(wave) - size + 1), hop))
    windows = [wave[start : start + size] for start in starts]
    covered = starts[-1] + size
    left = len(wave) - covered
    if left > 0 and rest == "shorter":
        windows.append(wave[covered:])
    elif rest == "overlapping" and 2 * left >= size:
        windows.append(wave[-size:])
    return windows
