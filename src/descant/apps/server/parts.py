"""The audio of clips while they are made: files that grow, and that any number of listeners read at their own pace."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from descant.audio.pcm import BYTES_PER_SAMPLE

BLOCK_BYTES = 2**15
"""What a listener holds in memory: half a second of mono at 32 kHz."""


class Part:
    """The 16-bit samples of a clip in the making. It belongs to the event loop.

    Args:
        goes_on: whether it goes on with what an earlier attempt has left; what is made again up to there is not
            written twice.
    """

    def __init__(self, path: Path, sample_rate_hz: int, channels: int, *, goes_on: bool = True) -> None:
        self.path, self.sample_rate_hz, self.channels = path, sample_rate_hz, channels
        self._file = path.open("ab", buffering=0)
        self.frame_bytes = channels * BYTES_PER_SAMPLE
        # A torn last frame of a server that was killed is written again.
        left = self._file.tell() if goes_on else 0
        self.length = left // self.frame_bytes * self.frame_bytes
        self._file.truncate(self.length)
        self.is_complete = False
        self._grown = asyncio.Event()

    @property
    def num_samples(self) -> int:
        """Samples of each channel."""
        return self.length // self.frame_bytes

    def append(self, start: int, pcm: bytes) -> int:
        """Adds samples that begin at sample ``start``, as far as they are new. Gives the number of new bytes.

        Raises:
            OSError: the disk is full.
        """
        known = self.length - start * self.frame_bytes
        assert known >= 0, "samples are missing"
        new = pcm[known:]
        if new:
            written = self._file.write(new)
            if written is not None and written < len(new):
                new = new[:written]
                self._file.truncate(self.length)
                raise OSError(28, "No space left on device", str(self.path))
            self.length += len(new)
            self._wake()
        return len(new)

    def finish(self) -> None:
        """Nothing follows; listeners end when they have everything."""
        self.is_complete = True
        self._file.close()
        self._wake()

    def content(self) -> bytes:
        """All samples."""
        with self.path.open("rb") as file:
            return file.read(self.length)

    async def read(self, start: int) -> AsyncIterator[bytes]:
        """The samples from ``start`` on, as they come, to the end of the clip."""
        # Opened once: the file may lose its name when the clip is finished.
        with self.path.open("rb", buffering=0) as file:
            position = start * self.frame_bytes
            file.seek(position)
            while True:
                grown = self._grown
                if position < self.length:
                    block = file.read(min(BLOCK_BYTES, self.length - position))
                    position += len(block)
                    yield block
                elif self.is_complete:
                    return
                else:
                    await grown.wait()

    def _wake(self) -> None:
        self._grown.set()
        self._grown = asyncio.Event()
