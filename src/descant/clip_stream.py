"""Music as clips while it is generated."""

from collections.abc import Iterator
from types import TracebackType

from jaxtyping import Int
from torch import Tensor

from descant.audio import Clip
from descant.generation.resolve import ResolvedRequest
from descant.generation.stream import MusicStream


class ClipStream:
    """An iterator over the clips of one request. Nothing is generated before it is asked for.

    ``close()``, or the end of a ``with`` block, ends the music early and frees the memory that it is generated in.
    """

    def __init__(self, stream: MusicStream, sample_rate_hz: int) -> None:
        self._stream = stream
        self.sample_rate_hz = sample_rate_hz

    def __enter__(self) -> "ClipStream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the music here; no clips follow."""
        self._stream.close()

    def __iter__(self) -> Iterator[Clip]:
        return self

    def __next__(self) -> Clip:
        return Clip(next(self._stream), self.sample_rate_hz)

    @property
    def request(self) -> ResolvedRequest:
        """The request with everything decided: its seed, for example."""
        return self._stream.request

    @property
    def codes(self) -> Int[Tensor, "K T"]:
        """The codes of all windows that are complete."""
        return self._stream.codes

    def change(self, text: str | None) -> None:
        """Draws the music under another prompt from the next frame on; clips that were given out stay valid."""
        self._stream.change(text)
