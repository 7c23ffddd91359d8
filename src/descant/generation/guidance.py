"""Classifier-free guidance: the formula, and one term of it for several jobs."""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

Scales: TypeAlias = tuple[float, ...]
"""The strength of guidance at each step of the pattern; the last one holds for all later steps, so one is constant."""


def guide(
    conditional: Float[Tensor, "*rows V"], unconditional: Float[Tensor, "*rows V"], scale: Float[Tensor, "*#rows 1"]
) -> Float[Tensor, "*rows V"]:
    """Classifier-free guidance (arXiv 2207.12598): 0 ignores the condition, 1 is plain sampling, 3 is MusicGen's."""
    return unconditional + scale * (conditional - unconditional)


def apply_term(
    guided: Float[Tensor, "jobs K V"], logits: Float[Tensor, "B K V"], first_row: int, scales: Float[Tensor, "R 1 1"]
) -> Float[Tensor, "jobs K V"]:
    """The logits that earlier terms gave, those of the first R jobs guided by one more; the others keep their bits.

    Args:
        first_row: the row of the logits under the first job's negative conditions; those of the others follow.
    """
    num_guided = len(scales)
    against = logits[first_row : first_row + num_guided]
    if num_guided == len(guided):
        return guide(guided, against, scales)
    return torch.cat([guide(guided[:num_guided], against, scales), guided[num_guided:]])


class GuidanceRows:
    """One guidance term of the first R of some jobs. A job applies its terms in their order: first away from itself
    without its text, say, and then away from the null condition (arXiv 2407.12563, section 4.3).

    Args:
        scales: of each job that has this term.
        first_row: the row of the logits under the first job's negative conditions; those of the others follow.
    """

    def __init__(self, scales: Sequence[Scales], first_row: int, device: torch.device) -> None:
        self.first_row = first_row
        self._scales = scales
        self._device = device
        self._values: list[float] = []
        self._column = torch.empty(0)

    @property
    def is_constant(self) -> bool:
        """Whether the scales are the same in all steps."""
        return all(len(of_job) == 1 for of_job in self._scales)

    def apply(
        self, guided: Float[Tensor, "jobs K V"], logits: Float[Tensor, "B K V"], steps: Sequence[int]
    ) -> Float[Tensor, "jobs K V"]:
        """The logits that earlier terms gave, guided by this one; a job without the term keeps its bits.

        Args:
            steps: the step of each job.
        """
        return apply_term(guided, logits, self.first_row, self.scales_at(steps))

    def scales_at(self, steps: Sequence[int]) -> Float[Tensor, "R 1 1"]:
        """The scale of each job that has this term; the same tensor as long as they stay the same."""
        values = [of_job[min(step, len(of_job) - 1)] for of_job, step in zip(self._scales, steps, strict=False)]
        if values != self._values:
            self._values = values
            self._column = torch.tensor(values, device=self._device)[:, None, None]
        return self._column
