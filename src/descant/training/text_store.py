"""Vectors of texts on disk, found by the encoder and the text: what one run has encoded, no other encodes again.

One SQLite file for all encoders and runs of a user, memory-mapped, which several processes may use. It holds no more
than it is allowed: the oldest entries make room.
"""

import logging
import sqlite3
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

LOG = logging.getLogger(__name__)
BUSY_S = 10.0
"""How long to wait for another process that writes."""


class TextStore:
    """The file. Where it cannot be used it counts as empty, with a warning; it belongs to the thread that creates it.

    Args:
        max_bytes: of the file.
    """

    def __init__(self, file: Path, max_bytes: int) -> None:
        self._file, self._max_bytes = file, max_bytes
        self._database: sqlite3.Connection | None = None
        with self._giving_up():
            file.parent.mkdir(parents=True, exist_ok=True)
            self._database = database = sqlite3.connect(file, timeout=BUSY_S)
            # Readers do not wait for writers, and a killed process leaves no half of a transaction.
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(f"PRAGMA mmap_size = {2 * max_bytes}")
            database.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, crc32 INTEGER, content BLOB)")

    def read(self, keys: Sequence[bytes], width: int) -> dict[bytes, Float[Tensor, "_ D"]]:
        """The vectors that are stored under these keys, in float32; damaged ones count as missing."""
        found: dict[bytes, Tensor] = {}
        database = self._database
        if database is None:
            return found
        with self._giving_up():
            for key in keys:
                row = database.execute("SELECT crc32, content FROM vectors WHERE key = ?", (key,)).fetchone()
                if row is not None and row[1] and zlib.crc32(row[1]) == row[0] and len(row[1]) % (4 * width) == 0:
                    found[key] = torch.frombuffer(bytearray(row[1]), dtype=torch.float32).view(-1, width)
        return found

    def write(self, vectors: Mapping[bytes, Float[Tensor, "_ D"]]) -> None:
        """Stores vectors under their keys, all or none of them."""
        contents = {key: value.cpu().contiguous().numpy().tobytes() for key, value in vectors.items()}
        with self._giving_up():
            if self._database is not None and contents:
                with self._database:
                    self._make_room(sum(map(len, contents.values())))
                    rows = [(key, zlib.crc32(content), content) for key, content in contents.items()]
                    self._database.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?)", rows)

    def close(self) -> None:
        """Closes the file."""
        if self._database is not None:
            self._database.close()

    def _make_room(self, num_bytes: int) -> None:
        """Deletes an eighth of the entries, the oldest, for as long as these bytes would not fit."""
        assert self._database is not None, "called by write alone"
        pages, free, page_bytes, count = (
            self._database.execute(query).fetchone()[0]
            for query in (
                "PRAGMA page_count",
                "PRAGMA freelist_count",
                "PRAGMA page_size",
                "SELECT COUNT(*) FROM vectors",
            )
        )
        if count and (pages - free) * page_bytes + num_bytes > self._max_bytes:
            oldest = "SELECT rowid FROM vectors ORDER BY rowid LIMIT ?"
            self._database.execute(f"DELETE FROM vectors WHERE rowid IN ({oldest})", (count // 8 + 1,))
            self._make_room(num_bytes)

    @contextmanager
    def _giving_up(self) -> Iterator[None]:
        """Goes on without the file after an error: it only saves time."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            LOG.warning("%s is not used, texts are encoded again: %s", self._file, error)
            database, self._database = self._database, None
            if database is not None:
                database.close()
