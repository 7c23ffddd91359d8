"""What the text needs: merging of tags, word dropout, hidden history, or no text at all.

The text encoder is the starter's small one, frozen. Of the paper's table A.2 (arXiv 2306.05284) the rows without
augmentation, with merging, and with merging and word dropout.
"""

from dataclasses import replace

from ablation_base import small, small_hidden

from descant.conditioning.dropout import ConditionDropout
from descant.studies.ablation.run import AblationRun, Judging


def _captions(merge_probability: float, word_dropout: float) -> AblationRun:
    run = small_hidden()
    captions = replace(run.batches.captions, merge_probability=merge_probability, word_dropout=word_dropout)
    return replace(run, batches=replace(run.batches, captions=captions))


def plain() -> AblationRun:
    """Captions as they are."""
    return _captions(merge_probability=0.0, word_dropout=0.0)


def merging() -> AblationRun:
    """Tags are added to a quarter of the captions, or replace them."""
    return _captions(merge_probability=0.25, word_dropout=0.0)


def merging_and_word_dropout() -> AblationRun:
    """In addition three of ten words are dropped."""
    return _captions(merge_probability=0.25, word_dropout=0.3)


def whole_history() -> AblationRun:
    """`merging`, but no part of the history is ever hidden."""
    return small()


def no_text() -> AblationRun:
    """No captions, in training and when it is judged."""
    run = small_hidden()
    task = replace(run.task, dropout=ConditionDropout(probability=1.0))
    return replace(run, task=task, judging=Judging(conditions=()))


ROWS = (plain, merging, merging_and_word_dropout, whole_history, no_text)
