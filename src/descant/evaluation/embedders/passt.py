"""PaSST, the classifier of AudioSet's 527 classes whose labels the MusicGen paper compares (arXiv 2110.05069).

A vision transformer on overlapping patches of a log-mel spectrogram, with the positions of time and frequency learnt
apart, here in the shape that was trained on 20 s: the one that audiocraft's label KL uses.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from descant.audio import Clip
from descant.evaluation.embedders.base import LabelEmbedder
from descant.evaluation.embedders.mel import mel_linear_filters
from descant.evaluation.embedders.weights import WeightsFile, downloaded_file, load_weights

SAMPLE_RATE_HZ = 32_000
WINDOW, HOP, FFT_SIZE = 800, 320, 1_024
NUM_MELS, LOWEST_HZ, HIGHEST_HZ = 128, 0.0, 15_000.0
PREEMPHASIS = 0.97
LOG_OFFSET, LOG_MEAN, LOG_SCALE = 1e-5, -4.5, 5.0
WINDOW_S = 20
SHORTEST_REST_S = 0.15

FILE = "passt-s-f128-20sec-p16-s10-ap.474-swa.pt"
SOURCE = "https://github.com/kkoutini/PaSST/releases/tag/v0.0.5"


@dataclass(frozen=True, kw_only=True)
class PaSSTConfig:
    """The defaults are the shape of the released network for 20 s, 86 million parameters."""

    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    num_labels: int = 527
    patch: int = 16
    stride: int = 10
    num_time_positions: int = 200
    num_frequency_positions: int = 12


class PaSSTEmbedder(LabelEmbedder):
    """768 values and the logits of 527 labels for every 20 s; a last window is as short as what is left.

    What is left is dropped if it has 0.15 s or less, as in audiocraft. The distribution of labels is the softmax of the
    logits, one for each window, although the network was trained on labels that may occur together.
    """

    name = "PaSST"
    sample_rate_hz = SAMPLE_RATE_HZ
    window_samples = hop_samples = WINDOW_S * SAMPLE_RATE_HZ
    dim = 768
    shortest_s = 0.2
    rest = "shorter"

    def __init__(self, network: "PaSST", weights: WeightsFile) -> None:
        self.network, self.weights = network.eval().requires_grad_(False), weights

    @classmethod
    def load(cls, file: Path | None = None) -> "PaSSTEmbedder":
        """The embedder with the weights released for 20 s.

        Args:
            file: ``passt-s-f128-20sec-p16-s10-ap.474-swa.pt``, or its tensors as safetensors; by default in PyTorch's
                cache of downloads, where ``hear21passt`` puts it.

        Raises:
            CheckpointError: the file is missing or has other tensors.
        """
        found = downloaded_file(file, FILE, SOURCE)
        network = PaSST(PaSSTConfig())
        # The head of the second token was only used in training.
        load_weights(network, found, {}, ignore=("head_dist.",))
        return cls(network, WeightsFile.of(found))

    def windows(self, clip: Clip) -> list[Float[Tensor, " N"]]:
        return [window for window in super().windows(clip) if len(window) > SHORTEST_REST_S * SAMPLE_RATE_HZ]

    @torch.inference_mode()
    def embed_and_label(self, waves: Float[Tensor, "W N"]) -> tuple[Float[Tensor, "W D"], Float[Tensor, "W labels"]]:
        features = self.network.features(log_mel(waves))
        return features, self.network.head(features)


class PaSST(nn.Module):
    """The network, with the names of the released weights."""

    def __init__(self, config: PaSSTConfig) -> None:
        super().__init__()
        width = config.width
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(1, width, kernel_size=config.patch, stride=config.stride)})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, width))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, width))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, width, config.num_frequency_positions, 1))
        self.time_new_pos_embed = nn.Parameter(torch.zeros(1, width, 1, config.num_time_positions))
        self.blocks = nn.Sequential(*(_Block(width, config.num_heads) for _ in range(config.num_layers)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.num_labels))

    def features(self, mel: Float[Tensor, "B M T"]) -> Float[Tensor, "B D"]:
        """The mean of the two tokens that stand for the whole, from which the labels are read."""
        patches = self.patch_embed["proj"](mel[:, None])
        patches = patches + self.time_new_pos_embed[..., : patches.shape[-1]] + self.freq_new_pos_embed
        tokens = torch.cat([self.cls_token, self.dist_token], dim=1) + self.new_pos_embed
        sequence = torch.cat([tokens.expand(len(mel), -1, -1), rearrange(patches, "B D M T -> B (M T) D")], dim=1)
        return self.norm(self.blocks(sequence))[:, :2].mean(dim=1)


class _Block(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, num_heads)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)})

    def forward(self, sequence: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        sequence = sequence + self.attn(self.norm1(sequence))
        return sequence + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(sequence))))


class _Attention(nn.Module):
    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, sequence: Float[Tensor, "B S D"]) -> Float[Tensor, "B S D"]:
        q, k, v = rearrange(self.qkv(sequence), "B S (three H E) -> three B H S E", three=3, H=self.num_heads)
        return self.proj(rearrange(F.scaled_dot_product_attention(q, k, v), "B H S E -> B S (H E)"))


def log_mel(waves: Float[Tensor, "B N"]) -> Float[Tensor, "B M T"]:
    """Standardised logarithms of mel powers, a frame every 10 ms, of the wave with its high frequencies raised."""
    raised = waves[:, 1:] - PREEMPHASIS * waves[:, :-1]
    window = torch.hann_window(WINDOW, periodic=False)
    spectrum = torch.stft(raised, FFT_SIZE, HOP, WINDOW, window, center=True, return_complex=True)
    filters = mel_linear_filters(SAMPLE_RATE_HZ, FFT_SIZE, NUM_MELS, LOWEST_HZ, HIGHEST_HZ)
    power = rearrange(spectrum.abs().square(), "B bins T -> B T bins")
    return (rearrange(torch.log(power @ filters + LOG_OFFSET), "B T M -> B M T") - LOG_MEAN) / LOG_SCALE
