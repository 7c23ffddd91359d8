"""Files of any kind: their checksums, and the folder where the platform keeps a user's caches."""

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
