"""How well a clip follows a melody: the chroma cosine of arXiv 2306.05284, table 2."""

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant.audio import Clip
from descant.conditioning.chroma import MelodyConfig, chromagram
from descant.conditioning.melody import apply_bottleneck

CHROMA = MelodyConfig()
"""The chromagram of audiocraft's metric and the released melody models: 32 kHz mono, a frame every 128 ms, argmax."""


def chroma_cosine(clip: Clip, melody: Clip) -> float:
    """The share of frames in which both have the same loudest pitch class, from 0 to 1, over the shorter duration.

    This equals the mean cosine of one-hot chromagrams. Both clips are used unseparated, including drums. Two unrelated
    clips agree in about a tenth of their frames, more if they share a key. A silent frame counts as a C, as in the
    released models: two silent clips agree, and silence agrees with every C.

    Raises:
        InvalidRequest: a clip is too short for a frame at 32 kHz.
    """
    waves = [audio.resample(CHROMA.sample_rate_hz).to_channels(1).samples[0].cpu() for audio in (clip, melody)]
    num_samples = min(map(len, waves))
    ours, theirs = (_one_hot_chroma(wave[:num_samples]) for wave in waves)
    return F.cosine_similarity(ours, theirs, dim=1).mean().item()


def _one_hot_chroma(wave: Float[Tensor, " N"]) -> Float[Tensor, "T P"]:
    # Without the frame that begins where the wave ends, which has half a window (audiocraft,
    # ChromaCosineSimilarityMetric).
    num_frames = math.ceil(len(wave) / CHROMA.hop_samples)
    return apply_bottleneck(chromagram(wave, CHROMA)[:num_frames], CHROMA)
