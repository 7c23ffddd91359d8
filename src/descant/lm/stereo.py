"""A stereo language model that begins as a mono one."""

import torch
from torch import nn

from descant.errors import ConfigError
from descant.lm.model import MusicLM


@torch.no_grad()
def start_stereo_from_mono(stereo: MusicLM, mono: MusicLM) -> None:
    """Gives a stereo model the weights of a mono one, in place; codebooks 2k and 2k + 1 are both sides of codebook k.

    Where both sides have the same codes and each pair shares the delay of its mono codebook, the stereo model has
    exactly the mono model's logits, and so its loss. Embeddings are halved for that, since those of both sides are
    added. The released stereo models started from embeddings that were copied as they are.

    Raises:
        ConfigError: the stereo model has another shape, or not twice as many codebooks.
    """
    ours, theirs = stereo.config, mono.config
    if ours.num_codebooks != 2 * theirs.num_codebooks:
        raise ConfigError(
            f"a stereo model of {ours.num_codebooks} codebooks starts from a mono one of {ours.num_codebooks // 2}, "
            f"this one has {theirs.num_codebooks}"
        )
    if ours.transformer != theirs.transformer or ours.codebook_size != theirs.codebook_size:
        raise ConfigError("a stereo model starts from a mono one with the same transformer and size of codebooks")
    stereo.blocks.load_state_dict(mono.blocks.state_dict())
    stereo.norm.load_state_dict(mono.norm.state_dict())
    _copy_to_both_sides(stereo.embeddings, mono.embeddings, scale=0.5)
    _copy_to_both_sides(stereo.heads, mono.heads, scale=1.0)


def _copy_to_both_sides(stereo: nn.ModuleList, mono: nn.ModuleList, scale: float) -> None:
    for codebook, table in enumerate(stereo):
        table.get_parameter("weight").copy_(scale * mono[codebook // 2].get_parameter("weight"))
