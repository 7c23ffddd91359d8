"""Open streams, counted by owner."""

from collections import Counter
from collections.abc import AsyncIterator

from descant.apps.server.metrics import Metrics
from descant.apps.server.problems import later


class Readers:
    """The open streams of a server."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self._limit, self._metrics = limit, metrics
        self._open: Counter[str] = Counter()

    def counted(self, owner: str, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The content, counted as open while it is read.

        Raises:
            Problem: this owner has as many open as are allowed.
        """
        if self._open[owner] >= self._limit:
            self._metrics.rejected.labels("too-many-streams").inc()
            raise later("too-many-streams", f"{self._limit} streams are open; close some", 5)
        return self._counted(owner, content)

    async def _counted(self, owner: str, content: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self._open[owner] += 1
        self._metrics.stream_readers.inc()
        try:
            async for block in content:
                yield block
        finally:
            self._open[owner] -= 1
            self._metrics.stream_readers.dec()
