"""MERT as an embedder (arXiv 2306.00107): the features of music that also condition style models."""

import torch
from jaxtyping import Float
from torch import Tensor

from descant.conditioning.encoders.mert import MERTFeatures
from descant.conditioning.style import StyleFeatures
from descant.evaluation.embedders.base import Embedder
from descant.evaluation.embedders.weights import WeightsFile

WINDOW_S = 5
"""The length of MERT's training clips."""


class MERTEmbedder(Embedder):
    """The last layer's mean over every five seconds.

    The rest of a clip becomes a window that overlaps the one before it, if at least half of it is new. ``fadtk`` takes
    every frame of 13 ms as a vector instead: its values do not compare with these.
    """

    rest = "overlapping"
    shortest_s = 1.0

    def __init__(self, features: StyleFeatures, name: str, weights: WeightsFile) -> None:
        self.features, self.name, self.weights = features, name, weights
        self.sample_rate_hz, self.dim = features.sample_rate_hz, features.dim
        self.window_samples = self.hop_samples = WINDOW_S * features.sample_rate_hz

    @classmethod
    def load(cls, name_or_path: str = "m-a-p/MERT-v1-95M") -> "MERTEmbedder":
        """The embedder of a folder or hub id.

        Raises:
            MissingExtra, CheckpointError: as ``MERTFeatures.load``.
        """
        features = MERTFeatures.load(name_or_path)
        name = name_or_path.rstrip("/").split("/")[-1]
        return cls(features, name, WeightsFile.of_frozen_network(name_or_path))

    def embed(self, waves: Float[Tensor, "W N"]) -> Float[Tensor, "W D"]:
        return torch.stack([self.features.features(wave).mean(dim=0) for wave in waves]).cpu()
