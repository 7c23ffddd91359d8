"""The chromagram: the strength of each of the twelve pitch classes over time."""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant.conditioning.stems import Separation
from descant.errors import ConfigError

CENTRE_OCTAVE, OCTAVE_WIDTH = 5.0, 2.0
"""Which octaves count most: those around 880 Hz, by a Gaussian of this many octaves (librosa.filters.chroma)."""

Bottleneck: TypeAlias = Literal["argmax", "strongest", "full"]
MelodyFusion: TypeAlias = Literal["prefix", "cross", "sum"]
NullMelody: TypeAlias = Literal["pitch_c", "nothing"]

_MAXIMA = {
    "sample_rate_hz": 10**6,
    "num_pitches": 1_200,
    "window_samples": 2**20,
    "hop_samples": 2**20,
    "num_frames": 2**16,
    "strongest": 1_200,
    "pooled_frames": 2**10,
}
"""Bounds on what a config from a file may ask for: no tensor of the file contradicts these numbers."""
_MAX_NEIGHBOURS = 64


@dataclass(frozen=True, kw_only=True)
class MelodyConfig:
    """The defaults are those of the released melody models: 235 frames for 30 s, of each the loudest pitch class.

    Args:
        num_frames: length of the melody in frames where it is a prefix or goes through cross-attention.
        bottleneck: what is kept of a frame: its loudest class (``argmax``; silence then becomes a C), its ``strongest``
            ones with their strengths, or all of them (``full``).
        strongest: number of classes that the bottleneck of that name keeps.
        pooled_frames: number of chromagram frames whose mean is one frame of the melody.
        fusion: where the melody enters the model: before the codes, through cross-attention, or added to the steps,
            each moment of the melody to the steps of that moment.
        neighbours: number of frames before and after a frame that are embedded together with it.
        part: the part of a recording that the melody is taken from where a request does not say (``melodic_part`` in
            ``conditioning/stems.py``). To train a model it must be named; ``auto`` depends on what is installed.
        null: the null melody: a C in every frame, as the released models have it in generation, or nothing.
    """

    sample_rate_hz: int = 32_000
    num_pitches: int = 12
    window_samples: int = 16_384
    hop_samples: int = 4_096
    num_frames: int = 235
    bottleneck: Bottleneck = "argmax"
    strongest: int = 1
    pooled_frames: int = 1
    fusion: MelodyFusion = "prefix"
    neighbours: int = 0
    part: Separation = "auto"
    null: NullMelody = "pitch_c"

    def __post_init__(self) -> None:
        for name, maximum in _MAXIMA.items():
            if not 1 <= getattr(self, name) <= maximum:
                raise ConfigError(f"{name}={getattr(self, name)}: from 1 to {maximum}")
        if self.window_samples % 2:
            raise ConfigError(f"window_samples={self.window_samples}: must be even, a frame is at its middle")
        if self.strongest > self.num_pitches:
            raise ConfigError(f"strongest={self.strongest}: there are {self.num_pitches} pitch classes")
        if not 0 <= self.neighbours <= _MAX_NEIGHBOURS:
            raise ConfigError(f"neighbours={self.neighbours}: from 0 to {_MAX_NEIGHBOURS}")

    @property
    def frame_rate_hz(self) -> float:
        """Frames of the melody per second, after pooling."""
        return self.sample_rate_hz / (self.hop_samples * self.pooled_frames)

    def frames_covering(self, duration_s: float) -> int:
        """Frames that cover a duration, and its ends half a frame away, wherever in a frame the duration starts."""
        return math.ceil(duration_s * self.frame_rate_hz) + 2


def chroma_filters(config: MelodyConfig) -> Float[Tensor, "P F"]:
    """The weight of each frequency of the spectrum in each pitch class, C first, tuned to A = 440 Hz.

    A bump around each class, repeated in every octave and wider where the spectrum is coarser than a semitone; each
    frequency has unit length, weighted by octave (librosa.filters.chroma with its defaults and tuning 0; D. Ellis,
    Chroma feature analysis and synthesis, 2007).
    """
    classes = config.num_pitches
    frequencies = torch.arange(1, config.window_samples, dtype=torch.float64) * (
        config.sample_rate_hz / config.window_samples
    )
    octaves = torch.log2(frequencies / (440.0 / 16))
    # 0 Hz has no octave: placed 1.5 octaves below the first frequency, its bump touches all classes.
    octaves = torch.cat([octaves[:1] - 1.5, octaves])
    widths = torch.cat([(octaves.diff() * classes).clamp(min=1.0), octaves.new_ones(1)])
    # Counted from A, as octaves are; the distance wraps around the circle of classes.
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
