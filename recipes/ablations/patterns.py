"""What the codebook pattern costs and buys: the paper's pattern ablation.

The paper's table 4 (arXiv 2306.05284) at equal updates, where every pattern reads the same crops and the longer ones
cost more, and at equal compute, where the longer ones read fewer crops in an update. Compute is counted in positions:
the steps of the sequences that the transformer reads, start token included, over all crops of all updates. Nats a frame
are the sum over the codebooks under the pattern's own factorisation, so patterns compare; codes at the end of a crop
that a delay moves behind its last step are in no loss.
"""

from ablation_base import at_equal_compute, small, with_pattern

from descant import patterns
from descant.studies.ablation.run import AblationRun


def delay() -> AblationRun:
    """The paper's choice: each codebook one step after the one before."""
    return small()


def partial_delay() -> AblationRun:
    """The first codebook, and all others one step later."""
    return with_pattern(delay(), patterns.partial_delay(4))


def parallel() -> AblationRun:
    """All codes of a frame in one step: they are independent of each other, given the frames before."""
    return with_pattern(delay(), patterns.parallel(4))


def partial_flatten() -> AblationRun:
    """Two steps a frame, the first codebook and then the others, at equal updates."""
    return with_pattern(delay(), patterns.PartialFlatten())


def coarse_first() -> AblationRun:
    """The first codebook of the whole crop, then the others together, at equal updates."""
    return with_pattern(delay(), patterns.CoarseFirst())


def flatten() -> AblationRun:
    """One code a step, the exact factorisation, at equal updates."""
    return with_pattern(delay(), patterns.Flatten())


def partial_flatten_equal_compute() -> AblationRun:
    """`partial_flatten` with half of the crops."""
    return at_equal_compute(partial_flatten())


def coarse_first_equal_compute() -> AblationRun:
    """`coarse_first` with half of the crops."""
    return at_equal_compute(coarse_first())


def flatten_equal_compute() -> AblationRun:
    """`flatten` with a quarter of the crops."""
    return at_equal_compute(flatten())


ROWS = (
    delay,
    partial_delay,
    parallel,
    partial_flatten_equal_compute,
    coarse_first_equal_compute,
    flatten_equal_compute,
    partial_flatten,
    coarse_first,
    flatten,
)
MAIN = (delay, parallel, flatten_equal_compute)
