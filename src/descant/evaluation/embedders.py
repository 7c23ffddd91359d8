"""MusiCNN, a pretrained music tagger, which scores whether a named instrument is present.

MusiCNN (Pons and Serra, arXiv 1909.06654) tags three-second patches of a mel spectrogram with the 50 most common tags
of MagnaTagATune. Its released TensorFlow weights are read with numpy into PyTorch layers, so TensorFlow is not needed.
The package's own dependencies can no longer be installed, and none of its code is run.
"""

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import torch
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from descant.audio import Clip
from descant.codec.mel import mel_filters
from descant.errors import InvalidRequest, MissingExtra
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
        network = MusiCNN()
        weights = network_weights(read_tf_checkpoint(f"{_weights_folder()}/"))
        network.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        return cls(network)

    @torch.inference_mode()
    def tag(self, clip: Clip) -> Float[Tensor, "50"]:
        """The probability of each of ``TAGS``, averaged over the clip's three-second patches.

        The clip is normalised to -20 LUFS first: the network was trained on mastered music and detects less in quiet
        clips.

        Raises:
            InvalidRequest: the clip is shorter than one patch.
        """
        wave = clip.to_channels(1).resample(SAMPLE_RATE_HZ).normalize_loudness(LOUDNESS_LUFS).samples[0]
        return torch.sigmoid(self.network(_patches(_log_mel(wave)))).mean(dim=0)


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
        bands = self.input_norm(patches[:, None])
        front = torch.cat([block(bands) for block in (*self.timbral, *self.temporal)], dim=1)
        levels = [front, self.middle[0](front)]
        for dense in self.middle[1:]:
            levels.append(levels[-1] + dense(levels[-1]))
        features = torch.cat(levels, dim=1)
        pooled = torch.stack([features.amax(dim=2), features.mean(dim=2)], dim=2)
        pooled = self.pooled_norm(rearrange(pooled, "B D pool -> B (D pool)"))
        return self.output(self.hidden_norm(functional.relu(self.hidden(pooled))))


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


def _log_mel(wave: Float[Tensor, " N"]) -> Float[Tensor, "T 96"]:
    if len(wave) < WINDOW:
        raise InvalidRequest(f"a clip of {len(wave) / SAMPLE_RATE_HZ:.3f} s: the tagger needs at least 3 s")
    power = spectrogram(wave, WINDOW, HOP).square()
    filters = mel_filters(sample_rate_hz=SAMPLE_RATE_HZ, window=WINDOW, num_mels=NUM_MELS)
    return torch.log10(10_000 * rearrange(power, "bins T -> T bins") @ filters + 1)


def _patches(mel: Float[Tensor, "T 96"]) -> Float[Tensor, "B 187 96"]:
    """Adjacent patches without the incomplete one at the end, as in MusiCNN's own tagger."""
    whole = len(mel) // PATCH_FRAMES
    if whole == 0:
        raise InvalidRequest(f"a clip of {len(mel) * HOP / SAMPLE_RATE_HZ:.1f} s: the tagger needs at least 3 s")
    return rearrange(mel[: whole * PATCH_FRAMES], "(B T) M -> B T M", T=PATCH_FRAMES)


def _weights_folder() -> Path:
    # Importing the package would import TensorFlow: its files are looked up in the installation metadata instead.
    try:
        files = distribution("musicnn").files or []
    except PackageNotFoundError as error:
        raise MissingExtra(
            "the music tagger's weights come in the package musicnn: pip install --no-deps musicnn==0.1.0"
        ) from error
    indices = [
        Path(str(file.locate())) for file in files if file.parent.name == "MTT_musicnn" and file.name == ".index"
    ]
    if not indices:
        raise MissingExtra("the installed musicnn has no MTT_musicnn weights: pip install --no-deps musicnn==0.1.0")
    return indices[0].parent


def network_weights(theirs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The checkpoint's variables with our names and in PyTorch's layout, without those of the optimiser."""
    ours: dict[str, np.ndarray] = {}
    names = [
        *(f"timbral.{i}" for i in range(2)),
        *(f"temporal.{i}" for i in range(3)),
        *(f"middle.{i}" for i in range(3)),
    ]
    # TensorFlow numbered the layers in the order of MusiCNN's graph, the norm of the input first.
    for number, name in enumerate(names):
        kernel = theirs[_numbered("conv2d", number) + "/kernel"]
        layout = "time feature 1 D -> D feature time" if name.startswith("middle") else "time band C D -> D C time band"
        ours[f"{name}.conv.weight"] = np.ascontiguousarray(rearrange(kernel, layout))
        ours[f"{name}.conv.bias"] = theirs[_numbered("conv2d", number) + "/bias"]
    for number, name in enumerate(("hidden", "output")):
        ours[f"{name}.weight"] = np.ascontiguousarray(theirs[_numbered("dense", number) + "/kernel"].T)
        ours[f"{name}.bias"] = theirs[_numbered("dense", number) + "/bias"]
    norms = ["input_norm", *(f"{name}.norm" for name in names), "pooled_norm", "hidden_norm"]
    parts = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
    for number, name in enumerate(norms):
        for their_part, our_part in parts.items():
            ours[f"{name}.{our_part}"] = theirs[f"{_numbered('batch_normalization', number)}/{their_part}"]
        ours[f"{name}.num_batches_tracked"] = np.array(0)
    return ours


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name
