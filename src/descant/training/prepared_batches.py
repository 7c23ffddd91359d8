"""Batches whose conditions are prepared before the training thread asks for them."""

import itertools
from collections.abc import Callable, Iterable, Sequence

from descant.data.token_dataset import TokenBatch
from descant.training.task import BatchSource

BLOCK = 8
"""Batches prepared together: the more texts there are at once, the more of them have one length."""


class PreparedBatches:
    """The batches of a source, a block of them prepared at a time; for one thread, as the ``Prefetcher`` has.

    Args:
        prepare: gives the batches with ``TokenBatch.prepared``, each the same in any block.
        numbers_from: the numbers of the batches that will be asked for, from one of them on (``Share``).
    """

    def __init__(
        self,
        source: BatchSource,
        prepare: Callable[[Sequence[TokenBatch]], list[TokenBatch]],
        numbers_from: Callable[[int], Iterable[int]] = itertools.count,
    ) -> None:
        self._source, self._prepare, self._numbers_from = source, prepare, numbers_from
        self._block: dict[int, TokenBatch] = {}

    def batch(self, step: int) -> TokenBatch:
        """The batch with that number."""
        if step not in self._block:
            numbers = list(itertools.islice(self._numbers_from(step), BLOCK))
            prepared = self._prepare([self._source.batch(number) for number in numbers])
            self._block = dict(zip(numbers, prepared, strict=True))
        return self._block[step]
