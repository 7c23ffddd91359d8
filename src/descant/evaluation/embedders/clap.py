"""CLAP as an embedder: audio and texts in one space (arXiv 2211.06687), by the encoder that also conditions models."""

import torch
from jaxtyping import Float
from torch import Tensor

from descant.conditioning.clap import ClapConfig, JointEncoder
from descant.conditioning.encoders.clap import ClapEncoder
from descant.evaluation.embedders.base import TextEmbedder
from descant.evaluation.embedders.weights import WeightsFile


class ClapEmbedder(TextEmbedder):
    """One vector of length 1 per ten seconds of audio, one window every second; also of texts.

    A window is never cut at random, as ``laion_clap`` does with audio over ten seconds. Shorter clips are repeated to
    ten seconds, as in CLAP's training; what remains after the last whole second is dropped.
    """

    rest = "dropped"
    shortest_s = 0.5

    def __init__(self, encoder: JointEncoder, weights: WeightsFile) -> None:
        config = encoder.config
        self.encoder, self.weights, self.name = encoder, weights, f"CLAP {config.name.rstrip('/').split('/')[-1]}"
        self.sample_rate_hz, self.dim = config.sample_rate_hz, config.dim
        self.window_samples, self.hop_samples = config.window_samples, config.stride_samples

    @classmethod
    def load(cls, config: ClapConfig | None = None) -> "ClapEmbedder":
        """The embedder of a folder or hub id, by default ``laion/larger_clap_music``.

        That is the conversion of ``music_audioset_epoch_15_esc_90.14.pt``, which the MusicGen paper measures with.

        Raises:
            MissingExtra, CheckpointError: as ``ClapEncoder.load``.
        """
        encoder = ClapEncoder.load(config or ClapConfig())
        return cls(encoder, WeightsFile.of_frozen_network(encoder.config.name))

    def embed(self, waves: Float[Tensor, "W N"]) -> Float[Tensor, "W D"]:
        return torch.stack([self.encoder.embed_window(wave) for wave in waves])

    def embed_text(self, text: str) -> Float[Tensor, " D"]:
        return self.encoder.embed_text(text)
