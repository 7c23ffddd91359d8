"""Melody: what a model hears of a tune.

A chromagram made coarser still tells the model the tune and leaves instruments, rhythm and octave to the text (arXiv
2306.05284, section 2.3). How coarse is the bottleneck; the paper's keeps the loudest pitch class of each frame.
"""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from descant.audio import Clip
from descant.conditioning.base import Embedding
from descant.conditioning.chroma import MelodyConfig, chromagram
from descant.nn.positions import sinusoidal

NULL_PITCH = 0
"""What no melody is to the released models: the C in every frame. They never mask a melody at generation, and their
null melody is silence, whose loudest class is the first (audiocraft, ChromaStemConditioner and get_pretrained)."""

FULL_LEVEL = 255
"""Strengths are kept in so many steps: a melody is small in a file's tags, and the same there as it was heard."""


def apply_bottleneck(chroma: Float[Tensor, "*B T P"], config: MelodyConfig) -> Float[Tensor, "*B frames P"]:
    """A chromagram through the bottleneck: pooled to ceil(T / pooled_frames) frames, and of each what is kept."""
    size = config.pooled_frames
    if size > 1:
        whole = chroma.shape[-2] // size * size
        groups = [rearrange(chroma[..., :whole, :], "... (T size) P -> ... T size P", size=size).mean(dim=-2)]
        if whole < chroma.shape[-2]:
            groups.append(chroma[..., whole:, :].mean(dim=-2, keepdim=True))
        chroma = torch.cat(groups, dim=-2)
    if config.bottleneck == "argmax":
        return F.one_hot(chroma.argmax(dim=-1), config.num_pitches).to(chroma.dtype)
    if config.bottleneck == "strongest":
        kept = chroma.topk(config.strongest, dim=-1)
        return torch.zeros_like(chroma).scatter(-1, kept.indices, kept.values)
    return chroma


def extract_melody(clip: Clip, config: MelodyConfig, duration_s: float) -> Int[Tensor, "T P"]:
    """What is heard of a clip, as levels from 0 to 255 of each pitch class, C first; of a long clip its first
    ``duration_s`` seconds. Always computed on the CPU, so that a melody is the same condition on every device.
    """
    mono = clip.resample(config.sample_rate_hz).to_channels(1).samples[0].cpu()
    count = max(1, round(duration_s * config.frame_rate_hz)) * config.pooled_frames
    # Frames beyond the last one that counts hear nothing of this.
    heard = mono[: count * config.hop_samples + config.window_samples]
    return (apply_bottleneck(chromagram(heard, config)[:count], config) * FULL_LEVEL).round().long()


def null_melody(config: MelodyConfig) -> Int[Tensor, "T P"]:
    """What stands for no melody when music is generated."""
    levels = torch.zeros(config.num_frames, config.num_pitches, dtype=torch.long)
    if config.null == "c":
        levels[:, NULL_PITCH] = FULL_LEVEL
    return levels


class MelodyConditioner(nn.Module):
    """The trained part of the melody condition: a linear map from pitch classes to the language model's width."""

    def __init__(self, config: MelodyConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear((1 + 2 * config.neighbours) * config.num_pitches, width)
        if config.fusion == "sum":
            # At first nothing: a model that has learned to do without goes on from where it stands.
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)

    def forward(self, squeezed: Float[Tensor, "B T P"], is_told: Bool[Tensor, " B"]) -> Embedding:
        """Melodies in the model's width and precision; zeros, and masked, for rows that are told none."""
        beside = self.config.neighbours
        around = F.pad(squeezed, (0, 0, beside, beside)).unfold(1, 1 + 2 * beside, 1)
        weight = self.project.weight
        values = self.project(rearrange(around, "B T P near -> B T (near P)").to(weight.device, weight.dtype))
        if self.config.fusion == "cross":
            # Cross-attention knows no order of its own.
            values = values + sinusoidal(values.shape[1], len(weight), device=weight.device).to(weight.dtype)
        mask = is_told.to(weight.device)[:, None].expand(values.shape[:2])
        return Embedding(torch.where(mask[:, :, None], values, 0.0), mask)

    def at(self, embedding: Embedding, times_s: Float[Tensor, " S"]) -> Embedding:
        """The vectors of these moments, for a melody that is added to the steps."""
        size = self.config.pooled_frames
        frames = times_s.double() * self.config.frame_rate_hz - (size - 1) / (2 * size)
        index = frames.round().clamp(0, embedding.values.shape[1] - 1).long().to(embedding.values.device)
        return Embedding(embedding.values[:, index], embedding.mask[:, index])

    def frame_at(self, second: float) -> int:
        """The frame in which a second lies; one that is a frame's beginning but for rounding lies in that frame."""
        return math.floor(second * self.config.frame_rate_hz + 1e-6)

    def fitted(self, levels: Int[Tensor, "T P"], duration_s: float, first_s: float = 0.0) -> Float[Tensor, "frames P"]:
        """A melody as the model takes it, from ``first_s`` on; a short one begins again.

        Args:
            duration_s: how long the piece is. It counts where a melody is added to the steps, from the frame on in
                which ``first_s`` lies; elsewhere it fills the frames that the model was trained with.
        """
        count, first = self.config.num_frames, round(first_s * self.config.frame_rate_hz)
        if self.config.fusion == "sum":
            count = math.ceil(duration_s * self.config.frame_rate_hz) + 2
            first = self.frame_at(first_s)
        return levels[(first + torch.arange(count)) % len(levels)].float() / FULL_LEVEL
