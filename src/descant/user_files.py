"""Files of any kind: their checksums and states, and the folders where the platform keeps a user's caches and data."""

import hashlib
import os
import sys
from pathlib import Path
from typing import Protocol, runtime_checkable

BLOCK_BYTES = 2**20


@runtime_checkable
class Digest(Protocol):
    """A hash of `hashlib`."""

    def update(self, data: bytes, /) -> object: ...


def add_content(digest: Digest, file: Path) -> None:
    """Adds the content of a file to a hash, in blocks."""
    with file.open("rb") as content:
        while block := content.read(BLOCK_BYTES):
            digest.update(block)


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    add_content(digest, file)
    return digest.hexdigest()


def file_state(file: Path) -> tuple[int, int] | None:
    """The size and the time of change (ns) of a file, None if it is not there.

    Taken before a file is read, it tells whether what was read is still what the file has.
    """
    try:
        state = file.stat()
    except FileNotFoundError:
        return None
    return state.st_size, state.st_mtime_ns


def cache_folder() -> Path | None:
    """The package's folder where the platform has caches; None for users without a home."""
    configured = Path(os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME", ""))
    if configured.is_absolute():
        return configured / "descant"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    caches = {"win32": "AppData/Local", "darwin": "Library/Caches"}.get(sys.platform, ".cache")
    return home / caches / "descant"


def data_folder() -> Path:
    """The package's folder where the platform keeps what users make.

    Raises:
        RuntimeError: this user has no home.
    """
    configured = Path(os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_DATA_HOME", ""))
    if configured.is_absolute():
        return configured / "descant"
    data = {"win32": "AppData/Local", "darwin": "Library/Application Support"}.get(sys.platform, ".local/share")
    return Path.home() / data / "descant"
