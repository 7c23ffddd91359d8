"""Melody: which of the twelve pitch classes sounds loudest in each moment, and nothing else of a recording.

So coarse a melody tells the model the tune and leaves instruments, rhythm and octave to the text (arXiv 2306.05284,
section 2.3). The released models were trained on recordings whose drums and bass had been taken away by a source
separator. Here the whole mix is heard: sung or played alone a tune gives the same chroma, in a full arrangement the
bass may win over it.
"""

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from descant.audio import Clip
from descant.conditioning.base import Embedding
from descant.errors import ConfigError

NULL_PITCH = 0
"""What no melody is at generation: the C in every frame. The released models never mask a melody then, and their null
melody is silence, whose loudest class is the first (audiocraft, ChromaStemConditioner and get_pretrained)."""

CENTRE_OCTAVE, OCTAVE_WIDTH = 5.0, 2.0
"""Which octaves count most: those around 880 Hz, by a Gaussian of this many octaves (librosa.filters.chroma)."""


_MOST = {
    "sample_rate_hz": 10**6,
    "num_pitches": 1_200,
    "window_samples": 2**20,
    "hop_samples": 2**20,
    "num_frames": 2**16,
}
"""Of what a config may ask: no tensor of a file speaks against it."""


@dataclass(frozen=True, kw_only=True)
class MelodyConfig:
    """The defaults are those of the released melody models: 235 frames for 30 s."""

    sample_rate_hz: int = 32_000
    num_pitches: int = 12
    window_samples: int = 16_384
    hop_samples: int = 4_096
    num_frames: int = 235

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise ConfigError(f"{name}={getattr(self, name)}: from 1 to {most}")
        if self.window_samples % 2:
            raise ConfigError(f"window_samples={self.window_samples}: must be even, a frame is at its middle")


def chroma_filters(config: MelodyConfig) -> Float[Tensor, "P F"]:
    """How much each frequency of the spectrum belongs to each pitch class, C first, tuned to A = 440 Hz.

    A bump around each class, repeated in every octave and wider where the spectrum is coarser than a semitone; each
    frequency has unit length, weighted by octave (librosa.filters.chroma with its defaults and tuning 0; D. Ellis,
    Chroma feature analysis and synthesis, 2007).
    """
    classes = config.num_pitches
    frequencies = torch.arange(1, config.window_samples, dtype=torch.float64) * (
        config.sample_rate_hz / config.window_samples
    )
    octaves = torch.log2(frequencies / (440.0 / 16))
    # 0 Hz has no octave: half a turn and more below the first frequency its bump touches all classes.
    octaves = torch.cat([octaves[:1] - 1.5, octaves])
    widths = torch.cat([(octaves.diff() * classes).clamp(min=1.0), octaves.new_ones(1)])
    # Counted from A, as octaves are; the distance goes round the circle of classes.
    distance = octaves * classes - torch.arange(classes, dtype=torch.float64)[:, None]
    half = round(classes / 2)
    distance = torch.remainder(distance + half, classes) - half
    bumps = F.normalize(torch.exp(-0.5 * (2 * distance / widths).square()), dim=0)
    bumps = bumps * torch.exp(-0.5 * ((octaves - CENTRE_OCTAVE) / OCTAVE_WIDTH).square())
    from_c = bumps.roll(-3 * (classes // 12), dims=0)
    return from_c[:, : 1 + config.window_samples // 2].float()


def chromagram(wave: Float[Tensor, " N"], config: MelodyConfig) -> Float[Tensor, "T P"]:
    """The strength of every pitch class in every frame, the strongest of a frame 1; silence stays near 0.

    Frames are centred: there are 1 + N // hop of them. A wave shorter than the window is padded to it on both sides.
    """
    missing = max(0, config.window_samples - len(wave))
    padded = F.pad(wave, (missing // 2, missing - missing // 2))
    window = torch.hann_window(config.window_samples, device=wave.device)
    spectrum = torch.stft(
        padded,
        n_fft=config.window_samples,
        hop_length=config.hop_samples,
        window=window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    power = (spectrum / window.square().sum().sqrt()).abs().square()
    strength = rearrange(chroma_filters(config).to(wave.device) @ power, "P T -> T P")
    return F.normalize(strength, p=math.inf, dim=1, eps=1e-6)


def melody_pitches(clip: Clip, config: MelodyConfig) -> Int[Tensor, " T"]:
    """The loudest pitch class of every frame, 0 for C: as many frames as the model was trained with.

    A shorter melody is repeated, of a longer one the beginning is heard. Always computed on the CPU, so that a melody
    is the same condition on every device. A silent clip gives C throughout, which is the null melody.
    """
    mono = clip.resample(config.sample_rate_hz).to_channels(1).samples[0].cpu()
    # Frames beyond the last one that counts hear nothing of this.
    heard = mono[: config.num_frames * config.hop_samples + config.window_samples]
    pitches = chromagram(heard, config).argmax(dim=1)
    return pitches.repeat(-(-config.num_frames // len(pitches)))[: config.num_frames]


def null_pitches(config: MelodyConfig) -> Int[Tensor, " T"]:
    """What stands for no melody when music is generated."""
    return torch.full((config.num_frames,), NULL_PITCH)


class MelodyConditioner(nn.Module):
    """The trained part of the melody condition: a linear map from pitch classes to the language model's width."""

    def __init__(self, config: MelodyConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear(config.num_pitches, width)

    def forward(self, pitches: Int[Tensor, "B T"]) -> Embedding:
        """Melodies in the model's width and precision. Nothing is masked: a melody fills all its frames."""
        one_hot = F.one_hot(pitches, self.config.num_pitches).to(self.project.weight.dtype)
        return Embedding(self.project(one_hot), torch.ones_like(pitches, dtype=torch.bool))

    def nothing(self, batch: int) -> Embedding:
        """The null melody of training: zeros, as many frames as a melody has (audiocraft masks it there)."""
        weight = self.project.weight
        values = weight.new_zeros(batch, self.config.num_frames, len(weight))
        return Embedding(values, torch.zeros(values.shape[:2], dtype=torch.bool, device=weight.device))
