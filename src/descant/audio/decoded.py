"""Files that cannot be entered in the middle, decoded once and kept for the next piece.

A lossy decoder that begins in the middle does not give what it gives there after all that came before. So such a file
is decoded from its beginning, and pieces are taken from the result: the same bits as the whole, for every format.
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
"""What is kept of decoded files, in temporary files: an hour and a half of stereo at 44.1 kHz. A single longer file is
kept all the same, alone."""

MAX_REMEMBERED = 20_000

Value = TypeVar("Value")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What decoding a file from end to end has shown."""

    num_samples: int
    sample_rate_hz: int
    num_channels: int
    losses: tuple[str, ...] = ()


class Remembered(Generic[Value]):
    """What was found out about files, by key: of the last so many. Safe to share between threads."""

    def __init__(self, max_items: int = MAX_REMEMBERED) -> None:
        self._max_items = max_items
        self._lock = threading.Lock()
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def get(self, key: Hashable) -> Value | None:
        """What was remembered of a file, if anything."""
        with self._lock:
            return self._values.get(key)

    def put(self, key: Hashable, value: Value) -> None:
        """Remembers it, and forgets what was remembered longest ago."""
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
    """Decoded samples by key, the ones used last; safe to share between threads, which wait for no file but their own.

    The samples lie in a file that has no name, so nothing of it is left when the process ends, however it ends.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()

    def samples(
        self, key: Hashable, decode: Callable[[], Iterable[Float32[np.ndarray, "N C"]]]
    ) -> Float32[np.ndarray, "N C"]:
        """The samples of a file; ``decode`` gives them if they are not kept.

        Raises:
            AudioError: there is no room for them, or as ``decode`` raises.
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
        with self._lock:  # whoever waited for one that failed has decoded it again
            self._kept.setdefault(key, kept)
        self._shrink()
        return samples

    def _shrink(self) -> None:
        """Lets go of the files used longest ago; whoever still reads one keeps it alive until then."""
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
    """Samples in a temporary file, mapped into memory page by page as they are needed."""
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
            f"needs more room than {tempfile.gettempdir()!r} has to be decoded ({error.strerror or error}); "
            f"set TMPDIR to another folder"
        ) from error
