"""Three sizes of the model and three of the data, also by genre.

All rows have the same updates of the same number of crops: at this length of training (3.2 hours of music are read) the
larger model has not converged, and an hour of data is read three times.
"""

from dataclasses import replace

from ablation_base import small_hidden, with_size

from descant.studies.ablation.run import AblationRun


def base() -> AblationRun:
    """Four layers 192 wide, 10 hours."""
    return small_hidden()


def smaller_model() -> AblationRun:
    """Two layers 128 wide, 10 hours."""
    return with_size(base(), width=128, num_heads=2, num_layers=2)


def larger_model() -> AblationRun:
    """Six layers 256 wide, 10 hours."""
    return with_size(base(), width=256, num_heads=4, num_layers=6)


def three_hours() -> AblationRun:
    """Four layers 192 wide, 3 hours."""
    return replace(base(), batches=replace(base().batches, max_hours=3.0))


def one_hour() -> AblationRun:
    """Four layers 192 wide, 1 hour."""
    return replace(base(), batches=replace(base().batches, max_hours=1.0))


ROWS = (base, smaller_model, larger_model, three_hours, one_hour)
