"""How much should the loss of each codebook weigh?

The coarse codes have the notes, the fine ones the sound. The starter is trained on with other weights.
"""

from dataclasses import replace

from pilot_base import continued

from descant.studies.ablation.run import AblationRun


def _weighted(*weights: float) -> AblationRun:
    run = continued()
    return replace(run, task=replace(run.task, codebook_weights=weights))


def falling() -> AblationRun:
    """1.5, 1.2, 0.8 and 0.5, the starter's."""
    return continued()


def equal() -> AblationRun:
    """All alike."""
    return _weighted(1.0, 1.0, 1.0, 1.0)


def steep() -> AblationRun:
    """2.4, 1, 0.4 and 0.2."""
    return _weighted(2.4, 1.0, 0.4, 0.2)


ROWS = (falling, equal, steep)
