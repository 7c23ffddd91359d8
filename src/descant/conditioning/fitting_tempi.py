"""Tempi on whose beats given moments fall, such as changes of chords, when the beat begins with the music."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

TOLERANCE_S = 0.02
"""A frame at 50 frames a second; times that are written with two digits are as exact."""
DIGITS = 2


def fitting_tempi(moments_s: Sequence[float], slowest_bpm: float, fastest_bpm: float) -> Float[np.ndarray, " tempi"]:
    """The tempi in a range on whose beats all moments fall, to a hundredth of a BPM; none if there is no such tempo.

    Args:
        moments_s: above 0, at least one.
    """
    # The last one says the tempo most exactly, as so many whole beats from the beginning.
    last_s = max(moments_s)
    counts = np.arange(math.ceil(slowest_bpm * last_s / 60), math.floor(fastest_bpm * last_s / 60) + 1)
    tempi = np.unique((60 / last_s * counts).round(DIGITS))
    beats = np.array(moments_s)[:, None] * tempi / 60
    late_s = np.abs(beats - beats.round()) * 60 / tempi
    return tempi[(late_s <= TOLERANCE_S).all(axis=0)]
