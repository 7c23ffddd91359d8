"""Classifier-free guidance: the formula and the rows it needs."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from descant.nn.inputs import LMInputs


def guide(
    conditional: Float[Tensor, "*rows V"], unconditional: Float[Tensor, "*rows V"], scale: Float[Tensor, "*#rows 1"]
) -> Float[Tensor, "*rows V"]:
    """Classifier-free guidance (arXiv 2207.12598): 0 ignores the condition, 1 is plain sampling, 3 is MusicGen's."""
    return unconditional + scale * (conditional - unconditional)


@dataclass(frozen=True)
class GuidanceTerm:
    """One application of classifier-free guidance: the inputs that it pushes away from, one row, and how strongly.

    Args:
        scales: by step of the pattern; the last one holds for all later steps.
    """

    negative: LMInputs
    scales: Float[Tensor, " S"]
