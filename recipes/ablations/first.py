"""The first experiments: no condition, then text, then text and a melody.

The paper's models in the order in which they are built: the delay pattern alone, with text, and with a melody, of which
the loudest pitch class of each frame is kept. The model with a melody is judged with it and without it, as in the
paper's table 2 (arXiv 2306.05284).
"""

from dataclasses import replace

from ablation_base import melody_config, small_hidden, with_melody

from descant.conditioning.dropout import ConditionDropout
from descant.studies.ablation.run import AblationRun, Judging


def no_condition() -> AblationRun:
    """The delay pattern without any condition."""
    run = small_hidden()
    task = replace(run.task, dropout=ConditionDropout(probability=1.0))
    return replace(run, task=task, judging=Judging(conditions=()))


def text() -> AblationRun:
    """With captions."""
    return small_hidden()


def melody() -> AblationRun:
    """With captions and melodies, and both given when it is judged."""
    return with_melody(small_hidden(), melody_config())


def melody_not_given() -> AblationRun:
    """The same model as `melody`, given captions alone."""
    return replace(melody(), judging=Judging(conditions=("text",)))


ROWS = (no_condition, text, melody, melody_not_given)
MAIN = (text, melody)
