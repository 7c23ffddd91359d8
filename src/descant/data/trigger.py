"""A trigger word: a rare word in every caption of the music that a model is tuned to, by which prompts call it up.

It is added after words of a caption are dropped: music that is learned without it would change the model for all
prompts.
"""

from collections.abc import Sequence
from dataclasses import replace

from descant.data.captions import plain_caption
from descant.data.token_dataset import TokenBatch, TokenBatches


def triggered(caption: str | None, trigger: str) -> str:
    """The caption with the trigger word in front, or the trigger word alone."""
    return trigger if caption is None else f"{trigger}, {caption}"


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
        batch = self._batches.batch(step)
        return with_captions(batch, [triggered(caption, self._trigger) for caption in batch.captions])


def held_out_batches(batches: TokenBatches, trigger: str, max_crops: int) -> list[TokenBatch]:
    """Crops evenly over all clips, at most this many, always the same ones, with the trigger word in their captions.

    Args:
        batches: of the split for validation; its batch size and crop length are used.
    """
    length, size = batches.config.segment_frames, batches.config.batch_size
    places = [
        (number, first, triggered(plain_caption(clip, batches.config.captions), trigger))
        for number, clip in enumerate(batches.clips)
        for first in range(0, max(1, clip.num_frames - length + 1), length)
    ]
    count = min(len(places), max_crops)
    chosen = [places[index * len(places) // count] for index in range(count)]
    return [batches.crops(chosen[first : first + size], length) for first in range(0, count, size)]


def with_captions(batch: TokenBatch, captions: Sequence[str | None]) -> TokenBatch:
    """The same crops with other captions."""
    rows = [{**row, "text": caption} for row, caption in zip(batch.conditions, captions, strict=True)]
    return replace(batch, conditions=rows)


def rows_of(batch: TokenBatch, rows: slice) -> TokenBatch:
    """Some of the crops of a batch."""
    return TokenBatch(
        codes=batch.codes[rows],
        conditions=batch.conditions[rows],
        frame_mask=batch.frame_mask[rows],
        clips=batch.clips[rows],
        first_beats=batch.first_beats[rows],
    )
