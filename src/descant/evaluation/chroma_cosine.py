"""Does a clip follow a melody? The paper's measure (arXiv 2306.05284, table 2)."""

import math

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant.audio import Clip
from descant.conditioning.chroma import MelodyConfig, chromagram
from descant.conditioning.melody import apply_bottleneck

HEARD = MelodyConfig()
"""As audiocraft's metric and the released melody models hear: 32 kHz mono, a frame every 128 ms, its loudest class."""


def chroma_cosine(clip: Clip, melody: Clip) -> float:
    """The share of frames in which both have the same loudest pitch class, from 0 to 1; of two lengths the shorter.

    That is what the mean cosine of chromagrams with the loudest class alone comes to. Both are heard as they are,
    drums and all. Two unrelated clips agree in about a tenth of their frames, more if they share a key. A silent frame
    counts as a C, as the released models hear it: two silent clips agree, and silence agrees with every C.

    Raises:
        InvalidRequest: a clip is too short to be heard at 32 kHz.
    """
    waves = [heard.resample(HEARD.sample_rate_hz).to_channels(1).samples[0].cpu() for heard in (clip, melody)]
    num_samples = min(map(len, waves))
    ours, theirs = (_loudest_classes(wave[:num_samples]) for wave in waves)
    return F.cosine_similarity(ours, theirs, dim=1).mean().item()


def _loudest_classes(wave: Float[Tensor, " N"]) -> Float[Tensor, "T P"]:
    # A frame that begins where the wave ends has only half a window to hear (audiocraft, ChromaCosineSimilarityMetric).
    num_frames = math.ceil(len(wave) / HEARD.hop_samples)
    return apply_bottleneck(chromagram(wave, HEARD)[:num_frames], HEARD)
