"""Embedders without weights: the spectrum of every second in a few bands."""

import torch
from jaxtyping import Float
from torch import Tensor

from descant.evaluation.embedders.base import LabelEmbedder, TextEmbedder
from descant.evaluation.embedders.weights import WeightsFile

RATE_HZ = 8_000
BANDS = 6


class BandEmbedder(LabelEmbedder):
    """Logarithms of the power in six bands, of which the loudest is the label."""

    name = "Bands"
    weights = WeightsFile("none", "0" * 64)
    sample_rate_hz = RATE_HZ
    window_samples = hop_samples = RATE_HZ
    dim = BANDS
    shortest_s = 1.0
    rest = "dropped"

    def embed_and_label(self, waves: Float[Tensor, "W N"]) -> tuple[Float[Tensor, "W D"], Float[Tensor, "W labels"]]:
        bands = bands_of(waves)
        return bands, bands


class BandTexts(TextEmbedder):
    """The same with length 1; a text names the band that is to be loudest."""

    name = "Band texts"
    weights = BandEmbedder.weights
    sample_rate_hz = RATE_HZ
    window_samples = hop_samples = RATE_HZ
    dim = BANDS
    shortest_s = 1.0
    rest = "dropped"

    def embed(self, waves: Float[Tensor, "W N"]) -> Float[Tensor, "W D"]:
        bands = bands_of(waves)
        return torch.nn.functional.normalize(bands - bands.mean(dim=1, keepdim=True), dim=1)

    def embed_text(self, text: str) -> Float[Tensor, " D"]:
        return torch.nn.functional.one_hot(torch.tensor(int(text.split()[-1])), BANDS).float()


def bands_of(waves: Float[Tensor, "W N"]) -> Float[Tensor, "W D"]:
    """Each band has a sixth of the spectrum."""
    power = torch.fft.rfft(waves).abs().square()[:, : BANDS * (waves.shape[1] // 2 // BANDS)]
    return (power.unflatten(1, (BANDS, -1)).mean(dim=2) + 1e-3).log()
