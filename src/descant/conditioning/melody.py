"""The melody condition: a chromagram that is too coarse to carry more than the tune.

It leaves instruments, rhythm and octave to the text (arXiv 2306.05284, section 2.3). How coarse it is depends on the
bottleneck; the paper's keeps the loudest pitch class of each frame.
"""

import math
from collections.abc import Sequence

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from descant.audio import Clip
from descant.conditioning.base import Conditioner, Conditions, Embedding, FrameSpan, Fusion
from descant.conditioning.chroma import MelodyConfig, chromagram
from descant.nn.positions import sinusoidal
from descant.nn.settings import in_one_thread

NULL_PITCH = 0
"""The null melody of the released models: a C in every frame. They never mask a melody in generation, and their null
melody is silence, whose loudest class is the first (audiocraft, ChromaStemConditioner and get_pretrained)."""

FULL_LEVEL = 255
"""Strengths from 0 to 1 are stored as levels from 0 to 255: small in a file's tags, and read back exactly."""


def apply_bottleneck(chroma: Float[Tensor, "*B T P"], config: MelodyConfig) -> Float[Tensor, "*B frames P"]:
    """A chromagram through the bottleneck: pooled to ceil(T / pooled_frames) frames, then reduced in each frame."""
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


@in_one_thread
def extract_melody(clip: Clip, config: MelodyConfig, duration_s: float) -> Int[Tensor, "T P"]:
    """The melody of the first ``duration_s`` seconds of a clip, as levels from 0 to 255 of each pitch class, C first.

    Always computed on the CPU and in one thread, so that a melody is the same condition everywhere.
    """
    mono = clip.resample(config.sample_rate_hz).to_channels(1).samples[0].cpu()
    count = max(1, round(duration_s * config.frame_rate_hz)) * config.pooled_frames
    # No frame that is kept depends on samples after these.
    needed = mono[: count * config.hop_samples + config.window_samples]
    return (apply_bottleneck(chromagram(needed, config)[:count], config) * FULL_LEVEL).round().long()


def null_melody(config: MelodyConfig) -> Int[Tensor, "T P"]:
    """The levels that stand for no melody, in training and in generation."""
    levels = torch.zeros(config.num_frames, config.num_pitches, dtype=torch.long)
    if config.null == "pitch_c":
        levels[:, NULL_PITCH] = FULL_LEVEL
    return levels


class MelodyConditioner(Conditioner[Sequence[Float[Tensor, "frames P"] | None]]):
    """A trained linear map from pitch classes to the language model's width.

    The condition of a row is what ``extract_melody`` gives, or, in training, strengths from 0 to 1. It starts at the
    music's first second; one that is shorter than the music repeats.
    """

    name = condition = "melody"
    is_before_text = True

    def __init__(self, config: MelodyConfig, lm_width: int) -> None:
        super().__init__()
        self.config = config
        self.project = nn.Linear((1 + 2 * config.neighbours) * config.num_pitches, lm_width)
        if config.fusion == "sum":
            # Zero at first: a model that was trained without melodies continues from where it is.
            nn.init.zeros_(self.project.weight)
            nn.init.zeros_(self.project.bias)

    def prepare(self, rows: Sequence[Conditions]) -> Sequence[Float[Tensor, "frames P"] | None]:
        """The strengths of the pitch classes in each row's melody."""
        return [_strengths(row.get("melody")) for row in rows]

    def forward(
        self,
        prepared: Sequence[Float[Tensor, "frames P"] | None],
        span: FrameSpan,
        drop: Bool[Tensor, " B"] | None = None,
    ) -> dict[Fusion, Embedding]:
        """The melodies from ``span.first_s`` on.

        Rows without one and rows that lose theirs have the null melody of ``MelodyConfig.null``: in generation, where
        nothing is dropped, the model sees the same null melody as in training.
        """
        dropped = [False] * len(prepared) if drop is None else drop.tolist()
        melodies = [None if is_dropped else melody for melody, is_dropped in zip(prepared, dropped, strict=True)]
        null = null_melody(self.config) / FULL_LEVEL
        strengths = torch.stack([self.fit(null if melody is None else melody, span) for melody in melodies])
        has_melody = torch.tensor([melody is not None or self.config.null == "pitch_c" for melody in melodies])
        embedding = self.embed(strengths, has_melody)
        return {self.config.fusion: self.at_steps(embedding, span) if self.config.fusion == "sum" else embedding}

    def embed(self, strengths: Float[Tensor, "B T P"], has_melody: Bool[Tensor, " B"]) -> Embedding:
        """Melody frames in the model's width and precision; rows without a melody are zero and masked."""
        near = self.config.neighbours
        around = F.pad(strengths, (0, 0, near, near)).unfold(1, 1 + 2 * near, 1)
        weight = self.project.weight
        values = self.project(rearrange(around, "B T P near -> B T (near P)").to(weight.device, weight.dtype))
        if self.config.fusion == "cross":
            # Cross-attention itself has no notion of order.
            values = values + sinusoidal(values.shape[1], len(weight), device=weight.device).to(weight.dtype)
        mask = has_melody.to(weight.device)[:, None].expand(values.shape[:2])
        return Embedding.masked(values, mask)

    def fit(self, melody: Float[Tensor, "T P"], span: FrameSpan) -> Float[Tensor, "frames P"]:
        """The frames of a melody that a span needs, from ``span.first_s`` on; a short melody repeats.

        A melody that is added to the steps covers the span, from the frame that contains ``first_s`` on; elsewhere it
        has the number of frames that the model was trained with.
        """
        count, first = self.config.num_frames, round(span.first_s * self.config.frame_rate_hz)
        if self.config.fusion == "sum":
            count, first = self.config.frames_covering(span.duration_s), self.frame_at(span.first_s)
        return melody[(first + torch.arange(count)) % len(melody)]

    def at_steps(self, embedding: Embedding, span: FrameSpan) -> Embedding:
        """The vectors of the frames nearest to each input step, of an embedding that ``fit`` aligned to the span."""
        config = self.config
        within_s = max(0.0, span.first_s - self.frame_at(span.first_s) / config.frame_rate_hz)
        times_s = within_s + (span.input_frames + 0.5) / span.frame_rate_hz
        frames = times_s.double() * config.frame_rate_hz - (config.pooled_frames - 1) / (2 * config.pooled_frames)
        index = frames.round().clamp(0, embedding.values.shape[1] - 1).long().to(embedding.values.device)
        return Embedding(embedding.values[:, index], embedding.mask[:, index])

    def frame_at(self, second: float) -> int:
        """The frame that contains a moment; the start of a frame belongs to it, despite rounding errors."""
        return math.floor(second * self.config.frame_rate_hz + 1e-6)


def _strengths(melody: Tensor | None) -> Float[Tensor, "frames P"] | None:
    """Strengths from 0 to 1, of which integers are levels."""
    if melody is None:
        return None
    return melody.cpu() if melody.is_floating_point() else melody.cpu().float() / FULL_LEVEL
