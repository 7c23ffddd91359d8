"""A trigger word: a rare word in every caption of the music that a model is tuned to, by which prompts call it up.

It is added after words of a caption are dropped: music that is learned without it would change the model for all
prompts.
"""

from collections.abc import Sequence
from dataclasses import replace

from descant.data.token_dataset import TokenBatch, TokenBatches


class TriggeredBatches:
    """Training batches whose captions begin with the trigger word.

    Args:
        batches: of the split to train on.
    """

    def __init__(self, batches: TokenBatches, trigger: str) -> None:
        self._batches = batches
        self._trigger = trigger

    def batch(self, step: int) -> TokenBatch:
        """The training batch of a step."""
        return with_trigger(self._batches.batch(step), self._trigger)


def with_trigger(batch: TokenBatch, trigger: str) -> TokenBatch:
    """The same crops with the trigger word in front of each caption; it is the caption where there is none."""
    captions = [trigger if caption is None else f"{trigger}, {caption}" for caption in batch.captions]
    return with_captions(batch, captions)


def with_captions(batch: TokenBatch, captions: Sequence[str | None]) -> TokenBatch:
    """The same crops with other captions."""
    rows = [{**row, "text": caption} for row, caption in zip(batch.conditions, captions, strict=True)]
    return replace(batch, conditions=rows, prepared=None)


def rows_of(batch: TokenBatch, rows: slice) -> TokenBatch:
    """Some of the crops of a batch."""
    return TokenBatch(
        codes=batch.codes[rows],
        conditions=batch.conditions[rows],
        frame_mask=batch.frame_mask[rows],
        clips=batch.clips[rows],
        first_beats=batch.first_beats[rows],
    )
