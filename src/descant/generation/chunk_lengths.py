"""How much of a piece of music comes at a time while it is made."""

import time
from collections.abc import Callable

AHEAD = 3.0
"""Nobody waits for music that was made so many times as fast as it is played: what there is lasts while a long chunk is
made, also if that takes twice as long as before because other music has begun."""


class ChunkLengths:
    """Each chunk is twice as long as the one before: up to ``usual`` frames, and up to ``longest`` frames while the
    music is made ``AHEAD`` times as fast as it is played. Long chunks cost less: the codec does many frames at once.

    Attributes:
        frames: of the next chunk.

    Args:
        first: frames of the first chunk.
        clock: the time in seconds; the making begins with the construction.
    """

    def __init__(
        self, first: int, usual: int, longest: int, frame_rate_hz: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.frames = first
        self._usual, self._longest, self._frame_rate_hz, self._clock = usual, longest, frame_rate_hz, clock
        self._began, self._num_made = clock(), 0

    def add(self, num_frames: int) -> None:
        """A chunk was made; it may have fewer frames than it should."""
        self._num_made += num_frames
        made_s, took_s = self._num_made / self._frame_rate_hz, self._clock() - self._began
        self.frames = min(2 * self.frames, self._longest if made_s >= AHEAD * took_s else self._usual)
