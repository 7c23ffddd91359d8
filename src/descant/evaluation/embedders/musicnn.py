"""MusiCNN, a pretrained music tagger, which scores whether a named instrument is present, and embeds without a network.

MusiCNN (Pons and Serra, arXiv 1909.06654) tags three-second patches of a mel spectrogram with 50 tags, those of
MagnaTagATune or those of the Million Song Dataset. Its released TensorFlow weights are read with numpy into PyTorch
layers, so TensorFlow is not needed. The package's own dependencies can no longer be installed, and none of its code is
run.
"""

from pathlib import Path
from typing import Literal

import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from descant.audio import Clip
from descant.codec.mel import mel_filters
from descant.errors import InvalidRequest
from descant.evaluation.embedders.base import LabelEmbedder
from descant.evaluation.embedders.musicnn_weights import TAGGER, network_weights, package_version, weights_folder
from descant.evaluation.embedders.weights import WeightsFile
from descant.evaluation.spectra import spectrogram
from descant.evaluation.tf_checkpoint import read_tf_checkpoint

SAMPLE_RATE_HZ = 16_000
WINDOW = 512
HOP = 256
NUM_MELS = 96
LOUDNESS_LUFS = -20.0
PATCH_FRAMES = 187
"""Three seconds, the length that MusiCNN was trained on."""

# fmt: off
TAGS = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient",
    "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals",
    "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man",
    "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello",
    "no voice", "weird", "country", "metal", "female voice", "choral",
)
# fmt: on
"""MagnaTagATune's 50 most common tags, in the order of the network's outputs."""

_BATCH_NORM_EPSILON = 1e-3
"""The default of tf.layers.batch_normalization, which the checkpoint does not contain."""


class MusicTagger:
    """Probabilities of the 50 tags for a clip.

    >>> tagger = MusicTagger.load()
    >>> dict(zip(TAGS, tagger.tag(clip).tolist()))["violin"]
    """

    def __init__(self, network: "MusiCNN") -> None:
        self.network = network.eval().requires_grad_(False)

    @classmethod
    def load(cls) -> "MusicTagger":
        """The tagger with the released MagnaTagATune weights.

        Raises:
            MissingExtra: the package ``musicnn``, which contains them, is not installed.
        """
        return cls(_read_network(weights_folder(TAGGER)))

    @torch.inference_mode()
    def tag(self, clip: Clip) -> Float[Tensor, "50"]:
        """The probability of each of ``TAGS``, averaged over the clip's three-second patches.

        The clip is normalised to -20 LUFS first: the network was trained on mastered music and detects less in quiet
        clips.

        Raises:
            InvalidRequest: the clip is shorter than one patch.
        """
        return torch.sigmoid(self.network(_patches(_log_mel(_normalized(clip))))).mean(dim=0)


class MusiCNNEmbedder(LabelEmbedder):
    """The 200 values of MusiCNN's last hidden layer for every three seconds, and the logits of its 50 tags.

    Clips are normalised to -20 LUFS, as for the tagger. Windows are the tagger's patches: they follow each other, and
    the rest of a clip is dropped. They overlap by a spectral window less a hop, so that each has the spectrogram that
    the whole clip has there. The distribution of labels is the softmax of the logits, averaged over the clip.
    """

    sample_rate_hz = SAMPLE_RATE_HZ
    window_samples = (PATCH_FRAMES - 1) * HOP + WINDOW
    hop_samples = PATCH_FRAMES * HOP
    dim = 200
    shortest_s = 3.0
    rest = "dropped"

    def __init__(self, network: "MusiCNN", name: str, weights: WeightsFile) -> None:
        self.network, self.name, self.weights = network.eval().requires_grad_(False), name, weights

    @classmethod
    def load(cls, training_set: Literal["MTT", "MSD"] = "MTT") -> "MusiCNNEmbedder":
        """The embedder with the weights trained on MagnaTagATune or on the Million Song Dataset.

        Raises:
            MissingExtra: the package ``musicnn``, which contains them, is not installed.
        """
        folder = weights_folder(f"{training_set}_musicnn")
        stored = WeightsFile.of(folder / ".data-00000-of-00001")
        weights = WeightsFile(f"musicnn {package_version()}/{folder.name}", stored.sha256)
        return cls(_read_network(folder), f"MusiCNN {training_set}", weights)

    def mono(self, clip: Clip) -> Float[Tensor, " N"]:
        # The spectrogram of a whole clip is centred: its first frame begins half a window before the clip.
        half = WINDOW // 2
        return functional.pad(_normalized(clip)[None], (half, half), mode="reflect")[0]

    @torch.inference_mode()
    def embed_and_label(self, waves: Float[Tensor, "W N"]) -> tuple[Float[Tensor, "W D"], Float[Tensor, "W labels"]]:
        frames = waves.unfold(1, WINDOW, HOP) * torch.hann_window(WINDOW)
        features = self.network.features(_compress(torch.fft.rfft(frames).abs().square()))
        return features, self.network.output(features)

    def label_probabilities(self, logits: Float[Tensor, "W labels"]) -> Float[Tensor, "parts labels"]:
        return super().label_probabilities(logits).mean(dim=0, keepdim=True)


class MusiCNN(nn.Module):
    """The network: tall and long filters on the spectrogram, three dense layers over time, pooling, two linear."""

    def __init__(self) -> None:
        super().__init__()
        self.input_norm = _batch_norm(nn.BatchNorm2d, 1)
        self.timbral = nn.ModuleList(_Band(204, (7, bands)) for bands in (38, 67))
        self.temporal = nn.ModuleList(_Band(51, (frames, 1)) for frames in (128, 64, 32))
        self.middle = nn.ModuleList(_Dense(channels) for channels in (561, 64, 64))
        self.pooled_norm = _batch_norm(nn.BatchNorm1d, 1_506)
        self.hidden = nn.Linear(1_506, 200)
        self.hidden_norm = _batch_norm(nn.BatchNorm1d, 200)
        self.output = nn.Linear(200, len(TAGS))

    def forward(self, patches: Float[Tensor, "B T 96"]) -> Float[Tensor, "B 50"]:
        """The logits of the tags."""
        return self.output(self.features(patches))

    def features(self, patches: Float[Tensor, "B T 96"]) -> Float[Tensor, "B 200"]:
        """The last hidden layer, normalised."""
        bands = self.input_norm(patches[:, None])
        front = torch.cat([block(bands) for block in (*self.timbral, *self.temporal)], dim=1)
        levels = [front, self.middle[0](front)]
        for dense in self.middle[1:]:
            levels.append(levels[-1] + dense(levels[-1]))
        features = torch.cat(levels, dim=1)
        pooled = torch.stack([features.amax(dim=2), features.mean(dim=2)], dim=2)
        pooled = self.pooled_norm(rearrange(pooled, "B D pool -> B (D pool)"))
        return self.hidden_norm(functional.relu(self.hidden(pooled)))


class _Band(nn.Module):
    """One convolution over time and mel bands, as long as its input, with a maximum over the bands."""

    def __init__(self, width: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        frames = kernel[0]
        # With an even kernel TensorFlow pads one more frame at the end.
        self.padding = (0, 0, (frames - 1) // 2, frames // 2)
        self.conv = nn.Conv2d(1, width, kernel)
        self.norm = _batch_norm(nn.BatchNorm2d, width)

    def forward(self, bands: Float[Tensor, "B 1 T M"]) -> Float[Tensor, "B D T"]:
        return reduce(
            self.norm(functional.relu(self.conv(functional.pad(bands, self.padding)))), "B D T M -> B D T", "max"
        )


class _Dense(nn.Module):
    """One convolution over seven frames and all features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, 64, kernel_size=7, padding=3)
        self.norm = _batch_norm(nn.BatchNorm1d, 64)

    def forward(self, features: Float[Tensor, "B D T"]) -> Float[Tensor, "B 64 T"]:
        return self.norm(functional.relu(self.conv(features)))


def _batch_norm(kind: type[nn.Module], width: int) -> nn.Module:
    return kind(width, eps=_BATCH_NORM_EPSILON)


def _normalized(clip: Clip) -> Float[Tensor, " N"]:
    return clip.to_channels(1).resample(SAMPLE_RATE_HZ).normalize_loudness(LOUDNESS_LUFS).samples[0]


def _log_mel(wave: Float[Tensor, " N"]) -> Float[Tensor, "T 96"]:
    if len(wave) < WINDOW:
        raise InvalidRequest(f"a clip of {len(wave) / SAMPLE_RATE_HZ:.3f} s: the tagger needs at least 3 s")
    return _compress(rearrange(spectrogram(wave, WINDOW, HOP).square(), "bins T -> T bins"))


def _compress(power: Float[Tensor, "*batch T bins"]) -> Float[Tensor, "*batch T 96"]:
    filters = mel_filters(sample_rate_hz=SAMPLE_RATE_HZ, window=WINDOW, num_mels=NUM_MELS)
    return torch.log10(10_000 * power @ filters + 1)


def _patches(mel: Float[Tensor, "T 96"]) -> Float[Tensor, "B 187 96"]:
    """Adjacent patches without the incomplete one at the end, as in MusiCNN's own tagger."""
    whole = len(mel) // PATCH_FRAMES
    if whole == 0:
        raise InvalidRequest(f"a clip of {len(mel) * HOP / SAMPLE_RATE_HZ:.1f} s: the tagger needs at least 3 s")
    return rearrange(mel[: whole * PATCH_FRAMES], "(B T) M -> B T M", T=PATCH_FRAMES)


def _read_network(folder: Path) -> MusiCNN:
    network = MusiCNN()
    weights = network_weights(read_tf_checkpoint(f"{folder}/"))
    network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    return network
