"""The melodies of tokenized clips: chromagrams beside the codes, from which a model can learn to follow a tune.

They are heard in what the codes sound like, not in the recordings: what is asked of a model is then what its codec can
do. A frame is a row of 255 levels.
"""

import os
from collections.abc import Callable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from descant.audio import Clip
from descant.codec.base import AudioCodec
from descant.conditioning.chroma import MelodyConfig, chromagram
from descant.conditioning.melody import FULL_LEVEL
from descant.data.clip_features import FeatureKind, add_features
from descant.shapes import Codes, Wave

WINDOW_S, CONTEXT_S = 60.0, 2.0
"""Long clips are heard in windows of so many seconds, with so many more on each side."""


def melodies(config: MelodyConfig) -> FeatureKind:
    """Chromagrams beside the codes. The bottleneck is applied in training, so it may change."""
    extractor: dict[str, str | int | float] = {
        "sample_rate_hz": config.sample_rate_hz,
        "num_pitches": config.num_pitches,
        "window_samples": config.window_samples,
        "hop_samples": config.hop_samples,
    }
    return FeatureKind("chroma", "descant data melodies", torch.uint8, config.num_pitches, extractor)


@torch.inference_mode()
def add_melodies(
    folder: str | os.PathLike[str],
    codec: AudioCodec,
    config: MelodyConfig,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Hears the melody of every clip of a folder of shards; raises and goes on as ``add_features``.

    Args:
        device: where the codec is.
    """

    def hear(codes: Codes) -> UInt8[Tensor, "frames P"]:
        heard = sound_of(codes.to(device), codec, codec.decode_fast).resample(config.sample_rate_hz)
        return (chromagram(heard.samples[0], config) * FULL_LEVEL).round().to(torch.uint8)

    add_features(folder, codec, melodies(config), hear, progress)


def crop(
    chroma: UInt8[Tensor, "T P"], first_s: float, num_frames: int, config: MelodyConfig
) -> Float[Tensor, "frames P"]:
    """``num_frames`` frames of a clip's chromagram from ``first_s`` on, silence behind its end.

    A moment between two frames is told as what lies between them.
    """
    moments = first_s * config.sample_rate_hz / config.hop_samples + torch.arange(num_frames, dtype=torch.float64)
    before = moments.floor().long()
    share = (moments - before).float()[:, None]
    behind = torch.cat([chroma.float() / FULL_LEVEL, torch.zeros(1, chroma.shape[1])])
    before, after = (index.clamp(max=len(chroma)) for index in (before, before + 1))
    return torch.lerp(behind[before], behind[after], share)


def sound_of(codes: Codes, codec: AudioCodec, decode: Callable[[Codes], Wave]) -> Clip:
    """What the codes of one clip sound like, in mono on the CPU.

    Long ones are decoded in windows, so that memory does not grow with them; at the seams the sound is nearly, not
    exactly, that of the whole.

    Args:
        decode: the codec's ``decode`` or ``decode_fast``.
    """
    rate_hz = codec.frame_rate_hz
    window, context = round(WINDOW_S * rate_hz), round(CONTEXT_S * rate_hz)
    waves = []
    for start in range(0, codes.shape[-1], window):
        first = max(0, start - context)
        wave = decode(codes[:, :, first : start + window + context]).mean(dim=1)[0]
        waves.append(wave[(start - first) * codec.hop_samples :][: window * codec.hop_samples])
    return Clip(torch.cat(waves)[None].float().cpu(), codec.sample_rate_hz)
