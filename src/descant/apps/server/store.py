"""The database: SQLite with a write-ahead log, one connection that writes and one for each thread that reads."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from descant.errors import DataError

NAME = "studio.sqlite"
READERS = 4
MIGRATIONS = (
    """
    CREATE TABLE jobs(
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL,
        state TEXT NOT NULL CHECK(state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
        request TEXT NOT NULL, seeds TEXT NOT NULL, attempt INTEGER NOT NULL DEFAULT 1, problem TEXT, label TEXT,
        created_at TEXT NOT NULL, started_at TEXT, finished_at TEXT);
    CREATE INDEX jobs_by_owner ON jobs(owner, number DESC);
    CREATE INDEX jobs_open ON jobs(number) WHERE state IN ('queued', 'running');
    CREATE TABLE clips(
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL,
        job_id TEXT, place INTEGER NOT NULL,
        state TEXT NOT NULL
            CHECK(state IN ('waiting', 'making', 'ready', 'partial', 'cancelled', 'failed')),
        request TEXT NOT NULL, text TEXT, seed INTEGER NOT NULL, model TEXT NOT NULL, problem TEXT,
        parent_id TEXT, parent_at_s REAL, relation TEXT,
        title TEXT, favourite INTEGER NOT NULL DEFAULT 0, rating INTEGER, tags TEXT NOT NULL DEFAULT '[]',
        notes TEXT NOT NULL DEFAULT '',
        asked_s REAL NOT NULL, num_samples INTEGER NOT NULL DEFAULT 0, sample_rate_hz INTEGER, channels INTEGER,
        tempo_bpm REAL, musical_key TEXT, measured TEXT, info TEXT,
        audio_bytes INTEGER NOT NULL DEFAULT 0, audio_kept INTEGER NOT NULL DEFAULT 0,
        codes_bytes INTEGER NOT NULL DEFAULT 0, version INTEGER NOT NULL DEFAULT 1,
        created_at TEXT NOT NULL, finished_at TEXT, heard_at TEXT, trashed_at TEXT);
    CREATE INDEX clips_by_owner ON clips(owner, trashed_at, number DESC);
    CREATE INDEX clips_by_job ON clips(job_id, place);
    CREATE VIRTUAL TABLE clip_words USING fts5(text, title, notes, tags);
    CREATE TABLE uploads(
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL, sha256 TEXT NOT NULL,
        name TEXT NOT NULL, num_samples INTEGER NOT NULL, sample_rate_hz INTEGER NOT NULL, channels INTEGER NOT NULL,
        bytes INTEGER NOT NULL, created_at TEXT NOT NULL, used_at TEXT, UNIQUE(owner, sha256));
    CREATE TABLE idempotency(
        owner TEXT NOT NULL, route TEXT NOT NULL, key TEXT NOT NULL, fingerprint TEXT NOT NULL, status INTEGER NOT NULL,
        headers TEXT NOT NULL, body TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY(owner, route, key));
    CREATE TABLE collections(
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL, name TEXT NOT NULL,
        created_at TEXT NOT NULL);
    CREATE TABLE collection_clips(
        collection_id TEXT NOT NULL REFERENCES collections(id) ON DELETE CASCADE,
        clip_id TEXT NOT NULL REFERENCES clips(id) ON DELETE CASCADE, place INTEGER NOT NULL,
        PRIMARY KEY(collection_id, place));
    CREATE TABLE presets(owner TEXT NOT NULL, name TEXT NOT NULL, request TEXT NOT NULL, PRIMARY KEY(owner, name));
    CREATE TABLE tests(
        number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE NOT NULL, owner TEXT NOT NULL, name TEXT NOT NULL,
        kind TEXT NOT NULL, question TEXT NOT NULL, clip_ids TEXT NOT NULL, created_at TEXT NOT NULL);
    CREATE TABLE answers(
        test_id TEXT NOT NULL REFERENCES tests(id) ON DELETE CASCADE, participant TEXT NOT NULL, trial INTEGER NOT NULL,
        answer TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY(test_id, participant, trial));
    """,
    """
    ALTER TABLE clips ADD COLUMN chords TEXT;
    ALTER TABLE clips ADD COLUMN maker TEXT;
    """,
)
"""What takes a database from version i to i + 1."""

Result = TypeVar("Result")
Work = Callable[[sqlite3.Connection], Result]


class Store:
    """The database of a folder. ``read`` and ``write`` run a function in a thread, each as one transaction."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="store-write")
        self._reading = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._connection = _connected(self._path)
        _migrate(self._connection, self._path)

    async def write(self, work: Work[Result]) -> Result:
        """Runs ``work`` alone, and keeps all of what it did or nothing."""
        return await asyncio.get_running_loop().run_in_executor(self._writing, self.write_now, work)

    async def read(self, work: Work[Result]) -> Result:
        """Runs ``work`` on the state that some write has left."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, self._read, work)

    def write_now(self, work: Work[Result]) -> Result:
        """As ``write``, in this thread: for the time before there is a loop, and for the thread of ``write``."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return result

    def close(self) -> None:
        """Waits for what is being written."""
        self._writing.shutdown()
        self._reading.shutdown()
        for connection in (*self._readers, self._connection):
            connection.close()

    def _read(self, work: Work[Result]) -> Result:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = _connected(self._path)
            self._readers.append(connection)
        connection.execute("BEGIN")
        try:
            return work(connection)
        finally:
            connection.execute("ROLLBACK")


def _connected(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.row_factory = sqlite3.Row
        for setting in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {setting}")
    except sqlite3.Error as error:
        raise DataError(f"{str(path)!r} cannot be opened as a database: {error}") from error
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Brings a database to the newest version; an older one is copied first."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise DataError(f"{str(path)!r} was written by a newer version of Descant: use that one, or another --data DIR")
    if 0 < version < len(MIGRATIONS):
        with sqlite3.connect(path.with_suffix(f".version-{version}.sqlite")) as copy:
            connection.backup(copy)
    for number, statements in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN; {statements} PRAGMA user_version={number}; COMMIT;")
