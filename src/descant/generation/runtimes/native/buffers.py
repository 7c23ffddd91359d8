"""The memory that the operations of a step read and write."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Int32
from torch import Tensor

from descant.generation.runtimes.native.integers import quantized_words
from descant.generation.runtimes.native.kernels import TokenWord
from descant.generation.runtimes.native.packing import padded
from descant.generation.runtimes.native.shorts import short_words
from descant.lm.model import LMConfig

MAX_TOKENS = 32
"""The most tokens that are read at once; longer prompts are read in parts."""


@dataclass(frozen=True)
class Buffers:
    """What the operations read and write, for up to `MAX_TOKENS` tokens. Widths are padded with zeros.

    Args:
        hidden: the hidden states.
        normed: after a layer norm; also the conditions whose keys and values are computed.
        wide: queries, keys and values; or the MLP's hidden layer.
        quantized: the input of a product, rounded for it.
        low_rank: between the two products of a change.
    """

    hidden: Float[Tensor, "T D"]
    normed: Float[Tensor, "T D"]
    wide: Float[Tensor, "T wide"]
    queries: Float[Tensor, "T D"]
    attended: Float[Tensor, "T D"]
    quantized: Int32[Tensor, "T quantized"]
    low_rank: Float[Tensor, "T ranks"]
    tokens: Int[np.ndarray, "T words"]
    state: np.ndarray

    @staticmethod
    def of(config: LMConfig, max_rank: int = 0) -> "Buffers":
        transformer = config.transformer
        width, wide = padded(transformer.width), padded(max(3, transformer.mlp_scale) * transformer.width)
        hidden, normed, queries, attended = (torch.zeros(MAX_TOKENS, width) for _ in range(4))
        tokens = np.zeros((MAX_TOKENS, TokenWord.NUM_WORDS), np.int64)
        return Buffers(
            hidden=hidden,
            normed=normed,
            wide=torch.zeros(MAX_TOKENS, wide),
            queries=queries,
            attended=attended,
            quantized=torch.zeros(MAX_TOKENS, max(quantized_words(wide), short_words(wide)), dtype=torch.int32),
            low_rank=torch.zeros(MAX_TOKENS, padded(max_rank)),
            tokens=tokens,
            state=np.array([0, tokens.ctypes.data, 0], np.int64),
        )
