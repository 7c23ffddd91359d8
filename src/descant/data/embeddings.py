"""Embeddings of tokenized clips in CLAP's joint space of text and audio, so that a model can be prompted with text.

As for melodies, the audio is decoded from the codes. Every window of a clip has an embedding, one second apart by
default (``ClapConfig.stride_s``): with adjacent windows, the nearest could be off by half a window from a crop. An hour
takes 3.7 MB.
"""

import os
from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant.codec.base import AudioCodec
from descant.conditioning.clap import ClapConfig, JointEncoder
from descant.data.clip_features import FeatureKind, add_features
from descant.data.melodies import decode_clip
from descant.shapes import Codes


def embeddings(config: ClapConfig) -> FeatureKind:
    """One embedding per window. The quantiser is applied in training, so its settings may change."""
    extractor: dict[str, str | int | float] = {
        "name": config.name,
        "sample_rate_hz": config.sample_rate_hz,
        "window_s": config.window_s,
        "stride_s": config.stride_s,
    }
    return FeatureKind("clap", "descant data embeddings", torch.float16, config.dim, extractor)


@torch.inference_mode()
def add_embeddings(
    folder: str | os.PathLike[str],
    codec: AudioCodec,
    encoder: JointEncoder,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Embeds every clip of a folder of shards; resumes and raises as ``add_features`` does.

    Args:
        encoder: on the device that it should run on.
        device: the codec's device.
    """

    def extract(codes: Codes) -> Float[Tensor, "windows D"]:
        return encoder.embed_windows(decode_clip(codes.to(device), codec, codec.decode))

    add_features(folder, codec, embeddings(encoder.config), partial(map, extract), progress)


def crop_embedding(
    embeddings: Float[Tensor, "windows D"], first_s: float, duration_s: float, config: ClapConfig
) -> Float[Tensor, " D"]:
    """The embedding of a crop: the normalised mean over the windows inside it.

    It is the nearest window if the crop is not longer than one; starts are rounded to those of the windows.
    """
    last_s = first_s + duration_s - config.window_s
    if last_s < first_s:
        first_s = last_s = (first_s + last_s) / 2
    final = len(embeddings) - 1
    first, last = (min(max(round(start_s / config.stride_s), 0), final) for start_s in (first_s, last_s))
    return F.normalize(embeddings[first : last + 1].float().mean(dim=0), dim=0)
