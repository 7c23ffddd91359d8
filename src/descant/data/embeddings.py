"""Where tokenized clips are in the joint space of texts and sound, from which a model learns to be asked in words.

They are heard in what the codes sound like, as melodies are. One embedding for each window that lies in a clip, a
second apart by default (``ClapConfig.stride_s``), so that a crop from anywhere has its own: of windows laid end to end,
the nearest would be up to half a window beside a crop. An hour takes 3.7 MB.
"""

import os
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant.codec.base import AudioCodec
from descant.conditioning.clap import ClapConfig
from descant.conditioning.encoders.clap import JointEncoder
from descant.data.clip_features import FeatureKind, add_features
from descant.data.melodies import sound_of


def embeddings(config: ClapConfig) -> FeatureKind:
    """Embeddings beside the codes, a row for each window. The quantiser behind them may change."""
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
    """Finds every clip of a folder of shards in the joint space; raises and goes on as ``add_features``.

    Args:
        encoder: on the device where it is to compute.
        device: where the codec is.
    """
    add_features(
        folder,
        codec,
        embeddings(encoder.config),
        lambda codes: encoder.embed_windows(sound_of(codes.to(device), codec, codec.decode)),
        progress,
    )


def crop_embedding(
    embeddings: Float[Tensor, "windows D"], first_s: float, duration_s: float, config: ClapConfig
) -> Float[Tensor, " D"]:
    """Where a crop of a clip is: the mean of the windows that lie in it, of length 1.

    The nearest window where the crop is no longer than one; starts are rounded to those of the windows.
    """
    last_s = first_s + duration_s - config.window_s
    if last_s < first_s:
        first_s = last_s = (first_s + last_s) / 2
    most = len(embeddings) - 1
    first, last = (min(max(round(start_s / config.stride_s), 0), most) for start_s in (first_s, last_s))
    return F.normalize(embeddings[first : last + 1].float().mean(dim=0), dim=0)
