"""Classifier-free guidance: the formula, its terms, and the terms of a whole batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from descant.nn.inputs import LMInputs


def guide(
    conditional: Float[Tensor, "*rows V"], unconditional: Float[Tensor, "*rows V"], scale: Float[Tensor, "*#rows 1"]
) -> Float[Tensor, "*rows V"]:
    """Classifier-free guidance (arXiv 2207.12598): 0 ignores the condition, 1 is plain sampling, 3 is MusicGen's."""
    return unconditional + scale * (conditional - unconditional)


@dataclass(frozen=True)
class GuidanceTerm:
    """One guidance of a job, away from the logits under other conditions. A job applies its terms in their order: first
    away from itself without its text, say, and then away from the null condition (arXiv 2407.12563, section 4.3).

    Args:
        negative: the conditions that guidance pushes away from, one row.
        scales: the strength at each step of the pattern; the last one holds for all later steps, so one is constant.
    """

    negative: LMInputs
    scales: Float[Tensor, " S"]


@dataclass(frozen=True)
class GuidanceRows:
    """One guidance term of R jobs: the row of each one's negative conditions, if it has this term, and its scales."""

    negative_rows: Int[Tensor, " R"]
    has_term: Bool[Tensor, "R 1 1"]
    scales: Float[Tensor, "R 1 S"]

    @staticmethod
    def of(scales: Sequence[Float[Tensor, " _"] | None], first_row: int, device: torch.device) -> "GuidanceRows":
        """The scales of each job, None for one without this term; the negative rows follow each other in this order."""
        has_term = torch.tensor([of_job is not None for of_job in scales])
        rows = (first_row - 1 + has_term.cumsum(dim=0)).masked_fill(~has_term, 0)
        longest = max(len(of_job) for of_job in scales if of_job is not None)
        whole = [torch.ones(longest) if of_job is None else _extended(of_job, longest) for of_job in scales]
        return GuidanceRows(rows.to(device), has_term[:, None, None].to(device), torch.stack(whole)[:, None].to(device))

    def apply(
        self, guided: Float[Tensor, "R K V"], logits: Float[Tensor, "B K V"], step: int
    ) -> Float[Tensor, "R K V"]:
        """The logits that earlier terms gave, guided by this one at a step; a job without the term keeps its bits."""
        scale = self.scales[:, :, min(step, self.scales.shape[2] - 1)][:, :, None]
        return torch.where(self.has_term, guide(guided, logits[self.negative_rows], scale), guided)


def _extended(scales: Float[Tensor, " S"], length: int) -> Float[Tensor, " length"]:
    return F.pad(scales, (0, length - len(scales)), value=float(scales[-1]))
