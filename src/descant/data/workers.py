"""Work on audio files, in this process or in several others, with the same results in the same order.

Importing it does not import torch: processes can be started first, and import it at the same time.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from descant import threads
from descant.errors import InvalidRequest
from descant.process_pool import process_pool

if TYPE_CHECKING:
    import torch

    from descant.codec.base import AudioCodec

T = TypeVar("T")

AHEAD = 4
"""Calls that are started ahead of the one that is waited for, of each process."""


class Workers:
    """Calls functions: here, when a result is asked for, or in ``num_processes`` processes, as soon as one is free.

    A block: with its end the processes end, which several start with the construction.

    Raises:
        InvalidRequest: there is less than one process.
        ProcessLost: a process was ended; from the block.
    """

    def __init__(self, num_processes: int = 1) -> None:
        if num_processes < 1:
            raise InvalidRequest(f"workers={num_processes}: at least 1")
        self._num_ahead = 0 if num_processes == 1 else AHEAD * num_processes
        self._stack = ExitStack()
        self._pool: ProcessPoolExecutor | None = None
        self._with_codec: Callable[..., Any] | None = None
        if num_processes > 1:
            num_threads = max(1, threads.current() // num_processes)
            pool = process_pool(num_processes, _begin, option="--workers", num_threads=num_threads)
            self._pool = self._stack.enter_context(pool)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, at)

    def use(self, codec: "AudioCodec", device: "torch.device | str" = "cpu") -> None:
        """The codec of ``start_with_codec``; every process has a copy on the device."""
        if self._pool is None:
            self._with_codec = partial(_call, codec, device)
            return
        from descant.data.sent_codec import with_codec, write_codec

        path = Path(self._stack.enter_context(TemporaryDirectory(prefix="descant-codec-"))) / "codec"
        write_codec(codec, path)
        self._with_codec = partial(with_codec, path, str(device))

    def start(self, function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        """A function that gives the result of this call, or raises its error."""
        return partial(function, *arguments) if self._pool is None else self._pool.submit(function, *arguments).result

    def start_with_codec(self, function: Callable[..., T], *arguments: Any) -> Callable[[], T]:
        """The same, with the codec that is used and its device as first arguments."""
        assert self._with_codec is not None, "use() comes first"
        return self.start(self._with_codec, function, *arguments)

    def ahead(self, calls: Iterable[T]) -> Iterator[T]:
        """The same calls, of which the next ones are already started in other processes."""
        started: deque[T] = deque()
        for call in calls:
            started.append(call)
            if len(started) > self._num_ahead:
                yield started.popleft()
        yield from started


def _begin() -> None:
    import descant.data.encode_clips  # noqa: F401, most calls need it, and nobody waits yet


def _call(codec: "AudioCodec", device: "torch.device | str", function: Callable[..., T], *arguments: Any) -> T:
    return function(codec, device, *arguments)
