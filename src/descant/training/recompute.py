"""Less memory in training: the activations of a block are computed again in the backward pass instead of being kept.

It takes about a third more time, and the same bits come out.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from descant.lm.model import MusicLM
from descant.nn.inputs import Context
from descant.nn.kv_cache import StaticCache
from descant.nn.transformer import Transformer
from descant.training.cpu_attention import UnfusedAttention


class RecomputedTransformer(Transformer):
    """The same blocks under the same names; between them only their inputs are kept."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        nn.ModuleList.__init__(self, blocks)

    def forward(
        self,
        hidden: Float[Tensor, "B S D"],
        context: Context | None = None,
        cache: StaticCache | None = None,
        rotary: Float[Tensor, "S E"] | None = None,
    ) -> Float[Tensor, "B S D"]:
        """As of ``Transformer``."""
        if cache is not None or not torch.is_grad_enabled():
            return super().forward(hidden, context, cache, rotary)
        # The backward pass knows nothing of the attention that an update chooses for bf16 on a CPU.
        is_unfused = hidden.device.type == "cpu" and torch.is_autocast_enabled("cpu")

        def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
            return nullcontext(), UnfusedAttention() if is_unfused else nullcontext()

        for block in self:
            hidden = checkpoint(block, hidden, context, None, rotary, use_reentrant=False, context_fn=contexts)
        return hidden


def recompute_blocks(lm: MusicLM) -> None:
    """Makes a language model keep less in training; its weights and their names stay."""
    lm.blocks = RecomputedTransformer(lm.blocks)
