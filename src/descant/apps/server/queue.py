"""The queue: clips of jobs that wait for a place in the engine; owners take turns."""

from collections import OrderedDict, deque
from collections.abc import Iterator


class FairQueue:
    """Clips by owner. The next one is the first of the owner whose turn it is."""

    def __init__(self) -> None:
        self._by_owner: OrderedDict[str, deque[str]] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._by_owner.values()))

    def push(self, owner: str, clip_id: str) -> None:
        """Adds a clip behind those of its owner."""
        self._by_owner.setdefault(owner, deque()).append(clip_id)

    def push_front(self, owner: str, clip_id: str) -> None:
        """Puts a clip back that has had its turn."""
        self._by_owner.setdefault(owner, deque()).appendleft(clip_id)

    def pop(self) -> str:
        """Takes the next clip; the turn goes to the next owner."""
        owner, waiting = next(iter(self._by_owner.items()))
        clip_id = waiting.popleft()
        del self._by_owner[owner]
        if waiting:
            self._by_owner[owner] = waiting
        return clip_id

    def remove(self, clip_id: str) -> bool:
        """Takes a clip out; False if it does not wait."""
        for owner, waiting in self._by_owner.items():
            if clip_id in waiting:
                waiting.remove(clip_id)
                if not waiting:
                    del self._by_owner[owner]
                return True
        return False

    def order(self) -> Iterator[str]:
        """The clips in the order in which they will be taken."""
        waiting = [list(clips) for clips in self._by_owner.values()]
        for place in range(max(map(len, waiting), default=0)):
            for clips in waiting:
                if place < len(clips):
                    yield clips[place]
