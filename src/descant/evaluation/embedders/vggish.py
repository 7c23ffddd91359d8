"""VGGish, the embedder of the original Frechet audio distance (arXiv 1812.08466) and of the MusicGen paper's.

VGGish (Hershey et al., arXiv 1609.09430) is a VGG of six convolutions and three dense layers on log-mel patches of
0.96 s. The embedding is the last dense layer before its ReLU, without the PCA of AudioSet's features, as in ``fadtk``.
"""

from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from descant.evaluation.embedders.base import Embedder
from descant.evaluation.embedders.mel import mel_linear_filters
from descant.evaluation.embedders.weights import WeightsFile, downloaded_file, load_weights

SAMPLE_RATE_HZ = 16_000
WINDOW, HOP, FFT_SIZE = 400, 160, 512
NUM_MELS, LOWEST_HZ, HIGHEST_HZ = 64, 125.0, 7_500.0
LOG_OFFSET = 0.01
PATCH_FRAMES = 96

FILE = "vggish-10086976.pth"
SOURCE = "https://github.com/harritaylor/torchvggish/releases/tag/v0.1"


class VGGishEmbedder(Embedder):
    """128 values for every 0.96 s. The frames of a patch span 0.975 s; the rest of a clip is dropped."""

    name = "VGGish"
    sample_rate_hz = SAMPLE_RATE_HZ
    window_samples = (PATCH_FRAMES - 1) * HOP + WINDOW
    hop_samples = PATCH_FRAMES * HOP
    dim = 128
    shortest_s = window_samples / SAMPLE_RATE_HZ
    rest = "dropped"

    def __init__(self, network: "VGGish", weights: WeightsFile) -> None:
        self.network, self.weights = network.eval().requires_grad_(False), weights

    @classmethod
    def load(cls, file: Path | None = None) -> "VGGishEmbedder":
        """The embedder with the weights that were converted from TensorFlow for ``torchvggish``.

        Args:
            file: ``vggish-10086976.pth``, or its tensors as safetensors; by default in PyTorch's cache of downloads,
                where ``torchvggish`` puts it.

        Raises:
            CheckpointError: the file is missing or has other tensors.
        """
        found = downloaded_file(file, FILE, SOURCE)
        network = VGGish()
        load_weights(network, found, {"embeddings.": "dense."})
        return cls(network, WeightsFile.of(found))

    @torch.inference_mode()
    def embed(self, waves: Float[Tensor, "W N"]) -> Float[Tensor, "W D"]:
        return self.network(log_mel(waves))


class VGGish(nn.Module):
    """The network: 72,141,184 parameters."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = 1
        for widths in ((64,), (128,), (256, 256), (512, 512)):
            for next_width in widths:
                layers += [nn.Conv2d(width, next_width, kernel_size=3, padding=1), nn.ReLU()]
                width = next_width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Linear(6 * 4 * 512, 4_096), nn.ReLU(), nn.Linear(4_096, 4_096), nn.ReLU(), nn.Linear(4_096, 128)
        )

    def forward(self, patches: Float[Tensor, "B T 64"]) -> Float[Tensor, "B 128"]:
        """The embeddings of patches of 96 frames."""
        return self.dense(self.convolve(patches))

    def convolve(self, patches: Float[Tensor, "B T 64"]) -> Float[Tensor, "B 12288"]:
        """The values that the dense layers read; they came from TensorFlow, so channels are innermost."""
        return rearrange(self.features(patches[:, None]), "B C T M -> B (T M C)")


def log_mel(waves: Float[Tensor, "B N"]) -> Float[Tensor, "B T 64"]:
    """Logarithms of mel magnitudes, a frame every 10 ms; frames lie in the wave, which is not padded."""
    frames = waves.unfold(1, WINDOW, HOP) * torch.hann_window(WINDOW)
    filters = mel_linear_filters(SAMPLE_RATE_HZ, FFT_SIZE, NUM_MELS, LOWEST_HZ, HIGHEST_HZ)
    return torch.log(torch.fft.rfft(frames, FFT_SIZE).abs() @ filters + LOG_OFFSET)
