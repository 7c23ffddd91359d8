"""Does hidden history make the music hold its notes?

A model that often does not see its history may learn not to count how long a note has lasted. The starter is trained
on, with more or less of its history hidden.
"""

from dataclasses import replace

from pilot_base import continued

from descant.studies.ablation.run import AblationRun


def _hidden(share: float) -> AblationRun:
    run = continued()
    return replace(run, task=replace(run.task, history_dropout=share))


def hidden_40() -> AblationRun:
    """In 40 % of the crops, as in the starter's first training."""
    return _hidden(0.4)


def hidden_0() -> AblationRun:
    """Never."""
    return _hidden(0.0)


def hidden_15() -> AblationRun:
    """In 15 % of the crops."""
    return _hidden(0.15)


def hidden_70() -> AblationRun:
    """In 70 % of the crops, as in the starter's second training."""
    return _hidden(0.7)


ROWS = (hidden_40, hidden_0, hidden_15, hidden_70)
