"""Melodies and styles of a request, checked against what a model takes."""

import math

import torch
from jaxtyping import Int
from torch import Tensor

from descant.audio import Clip
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.melody import FULL_LEVEL
from descant.conditioning.style import StyleConfig
from descant.errors import InvalidRequest

SILENT_PEAK = 1e-4
"""What stays below this, 80 dB under full scale, is no melody."""


def check_melody(melody: Clip, config: MelodyConfig, part: str) -> None:
    """Refuses a melody that is too short or silent.

    Args:
        part: what was taken of it; ``mix`` is all.
    """
    shortest_s = config.window_samples / config.sample_rate_hz / 2
    if melody.duration_s < shortest_s:
        raise InvalidRequest(
            f"melody: {melody.duration_s:.3g} s is too short to hear a tune in; give at least {shortest_s:.3g} s"
        )
    if melody.samples.abs().max() < SILENT_PEAK:
        told = "silent" if part == "mix" else f"nothing is left of it as {part}"
        raise InvalidRequest(f"melody: {told}, so there is no tune to follow; give one that can be heard, or none")


def beginning(clip: Clip, duration_s: float) -> Clip:
    """The clip up to a second, or all of a shorter one."""
    length = math.ceil(duration_s * clip.sample_rate_hz)
    return Clip(clip.samples[:, :length], clip.sample_rate_hz)


def checked_melody(levels: Int[Tensor, "T P"], config: MelodyConfig) -> Int[Tensor, "T P"]:
    """The levels on the CPU, if they are such as the model makes of a melody."""
    low, high = int(levels.min()), int(levels.max())
    if levels.shape[1] != config.num_pitches or not 0 <= low <= high <= FULL_LEVEL:
        raise InvalidRequest(
            f"melody_chroma: {levels.shape[1]} pitch classes with levels from {low} to {high}; this model takes "
            f"{config.num_pitches} from 0 to {FULL_LEVEL}: give the melody as audio"
        )
    return levels.to("cpu", torch.long)


def checked_style(codes: Int[Tensor, "K L"], config: StyleConfig) -> Int[Tensor, "K L"]:
    """The codes on the CPU, if they are such as the model makes of a style."""
    low, high = int(codes.min()), int(codes.max())
    if len(codes) > config.num_codebooks or not 0 <= low <= high < config.codebook_size:
        raise InvalidRequest(
            f"style_codes: {len(codes)} codebooks with codes from {low} to {high}; this model has "
            f"{config.num_codebooks} with codes from 0 to {config.codebook_size - 1}: give the style as audio"
        )
    return codes.to("cpu", torch.long)
