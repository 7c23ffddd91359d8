"""How many frames one codebook should lag behind the one before.

The paper delays each codebook by one step more; intervals up to four are compared, all else equal. With 0 the codes of
a frame are independent of each other; a longer interval gives a code no more codes of its own frame than 1 does, but
later frames of the coarser codebooks.
"""

from ablation_base import small, with_pattern

from descant.patterns import Delay
from descant.studies.ablation.run import AblationRun


def _interval(frames: int) -> AblationRun:
    return with_pattern(small(), Delay(delays=tuple(frames * codebook for codebook in range(4))))


def interval_1() -> AblationRun:
    """The paper's."""
    return _interval(1)


def interval_0() -> AblationRun:
    """No delay: the parallel pattern."""
    return _interval(0)


def interval_2() -> AblationRun:
    """Two frames."""
    return _interval(2)


def interval_3() -> AblationRun:
    """Three frames."""
    return _interval(3)


def interval_4() -> AblationRun:
    """Four frames."""
    return _interval(4)


ROWS = (interval_1, interval_0, interval_2, interval_3, interval_4)
