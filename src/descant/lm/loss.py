"""Losses of the language model: cross-entropy of the codes of clips, and divergence from another model."""

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from descant.patterns import Pattern, interleave
from descant.shapes import Codes, Logits

NO_TARGET = -100
"""The target of cells where there is nothing to predict."""


def pattern_cross_entropy(
    logits: Logits,
    codes: Codes,
    pattern: Pattern,
    mask: Bool[Tensor, "B T"] | None = None,
    weights: Float[Tensor, " K"] | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " K"]]:
    """Cross-entropy in nats, averaged over the codebooks, and that of each codebook.

    Every codebook has the same weight, however many of its codes the pattern leaves out, unless ``weights`` are given;
    only their ratios matter. The cross-entropy of a codebook without any code that counts is 0.

    Args:
        logits: for the sequence of ``codes`` under ``pattern``, ``training_length`` steps of it, start token included.
        mask: the frames that count; None for all.
    """
    targets = _targets(codes, pattern, mask)
    losses = F.cross_entropy(
        rearrange(logits, "B K S V -> (B K S) V").float(),
        rearrange(targets, "B K S -> (B K S)"),
        ignore_index=NO_TARGET,
        reduction="none",
    )
    total = rearrange(losses, "(B K S) -> K (B S)", B=len(codes), K=len(codes[0])).sum(dim=1)
    count = rearrange(targets != NO_TARGET, "B K S -> K (B S)").sum(dim=1)
    per_codebook = total / count.clamp(min=1)
    if weights is None:
        weights = torch.ones_like(per_codebook)
    return (weights * per_codebook).sum() / weights.sum(), per_codebook


def pattern_divergence(
    logits: Logits,
    reference: Logits,
    codes: Codes,
    pattern: Pattern,
    mask: Bool[Tensor, "B T"] | None = None,
) -> Float[Tensor, ""]:
    """How far the predictions are from those of a reference: KL(reference || logits) in nats, averaged over the codes.

    Args:
        logits, reference: both as for ``pattern_cross_entropy``.
        codes, mask: which steps count, as there.
    """
    counted = _targets(codes, pattern, mask) != NO_TARGET
    ours, theirs = F.log_softmax(logits[counted].float(), dim=-1), F.log_softmax(reference[counted].float(), dim=-1)
    return F.kl_div(ours, theirs, log_target=True, reduction="sum") / counted.sum().clamp(min=1)


def _targets(codes: Codes, pattern: Pattern, mask: Bool[Tensor, "B T"] | None) -> Int[Tensor, "B K S"]:
    """The code that each step of each codebook predicts, ``NO_TARGET`` where none counts."""
    num_frames = codes.shape[-1]
    if mask is not None:
        codes = codes.masked_fill(~mask[:, None], NO_TARGET)
    # Targets are put into the order of the logits, not the other way round: logits are thousands of times larger.
    length = pattern.training_length(num_frames)
    targets = interleave(codes, pattern.steps(num_frames), length, empty=NO_TARGET)
    return F.pad(targets[:, :, 1:], (0, 1), value=NO_TARGET)
