"""Distances between waveforms, batched."""

from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from descant.shapes import Wave


def si_sdr_db(reference: Wave, estimate: Wave) -> Float[Tensor, " B"]:
    """Scale-invariant signal-to-distortion ratio of each row in dB; higher is better.

    ``10 log10(|a r|^2 / |a r - e|^2)`` with ``a = <e, r> / |r|^2`` (arXiv 1811.02508, section 2), after removing the
    mean of each channel. Infinite if the estimate is a multiple of the reference, NaN if either is silent.
    """
    reference, estimate = (
        rearrange(wave - wave.mean(dim=-1, keepdim=True), "B C N -> B (C N)") for wave in (reference, estimate)
    )
    scale = (estimate * reference).sum(dim=1, keepdim=True) / reference.square().sum(dim=1, keepdim=True)
    target = scale * reference
    return 10 * (target.square().sum(dim=1) / (target - estimate).square().sum(dim=1)).log10()
