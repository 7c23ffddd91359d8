"""A cache of decoded files whose decoders cannot seek exactly.

A lossy decoder that starts in the middle gives other samples than one that starts at the beginning. So such a file is
decoded from its beginning, once, and excerpts are slices of the result: bit-equal to the whole, for every format.
"""

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float32

from descant.errors import AudioError

MAX_BYTES = 2 << 30
"""Size of the cache, in temporary files: an hour and a half of stereo at 44.1 kHz. A single longer file is kept too,
alone."""

MAX_ITEMS = 20_000

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of decoding a file from end to end."""

    num_samples: int
    sample_rate_hz: int
    num_channels: int
    losses: tuple[str, ...] = ()


class FileCache(Generic[Value]):
    """A cache of values by file key that keeps the latest ``max_items``. Safe to share between threads."""

    def __init__(self, max_items: int = MAX_ITEMS) -> None:
        self._max_items = max_items
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """The value of a file, if it is cached."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> None:
        """Stores a value and drops the oldest ones."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._max_items:
                self._values.popitem(last=False)


@dataclass
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    samples: np.ndarray | None = None


class DecodedFiles:
    """Decoded samples by key, least recently used dropped first. Safe to share between threads, which wait for no file
    but their own.

    The samples are in a file without a name, so nothing remains when the process ends, however it ends.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def samples(
        self, key: Hashable, decode: Callable[[], Iterable[Float32[np.ndarray, "N C"]]]
    ) -> Float32[np.ndarray, "N C"]:
        """The samples of a file, from ``decode`` if they are not cached.

        Raises:
            AudioError: the disk is full, or as ``decode``.
        """
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
        with kept.lock:
            try:
                if kept.samples is None:
                    kept.samples = _stored(decode())
            except BaseException:
                with self._lock:
                    if self._kept.get(key) is kept:
                        del self._kept[key]
                raise
            samples = kept.samples
        with self._lock:  # a thread that waited for one that failed has decoded it again
            self._kept.setdefault(key, kept)
        self._shrink()
        return samples

    def _shrink(self) -> None:
        """Drops the files used longest ago; one that is still being read stays alive until then."""
        with self._lock:
            total = sum(kept.samples.nbytes for kept in self._kept.values() if kept.samples is not None)
            for key in list(self._kept)[:-1]:
                samples = self._kept[key].samples
                if total <= self._max_bytes:
                    return
                if samples is not None:
                    total -= samples.nbytes
                    del self._kept[key]


def _stored(blocks: Iterable[Float32[np.ndarray, "N C"]]) -> Float32[np.ndarray, "N C"]:
    """Samples in a temporary file, memory-mapped."""
    num_channels = 1
    try:
        with tempfile.TemporaryFile(prefix="descant-") as file:
            for block in blocks:
                num_channels = block.shape[1]
                file.write(block.tobytes())
            file.flush()
            if not file.tell():
                return np.empty((0, num_channels), np.float32)
            return np.memmap(file, np.float32, "r").reshape(-1, num_channels)
    except OSError as error:
        raise AudioError(
            f"needs more space to be decoded than {tempfile.gettempdir()!r} has ({error.strerror or error}); "
            f"set TMPDIR to another folder"
        ) from error
