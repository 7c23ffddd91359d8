"""Classifier-free guidance: the formula and the rows it needs."""

from jaxtyping import Float
from torch import Tensor


def guide(
    conditional: Float[Tensor, "*rows V"], unconditional: Float[Tensor, "*rows V"], scale: Float[Tensor, "*#rows 1"]
) -> Float[Tensor, "*rows V"]:
    """Classifier-free guidance (arXiv 2207.12598): 0 ignores the condition, 1 is plain sampling, 3 is MusicGen's."""
    return unconditional + scale * (conditional - unconditional)
