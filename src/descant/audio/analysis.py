"""The door to librosa, which analyses music. numba compiles parts of it and needs a folder to keep them in."""

import atexit
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from descant.errors import InvalidRequest
from descant.folder_lock import locked

COMPILING_S = 600.0
"""No process compiles for longer: one that waits goes on after that."""


def import_librosa(*parts: str) -> ModuleType:
    """librosa with the named parts of it, also where neither its own folder nor the user's home can be written.

    numba would end the import there, since it finds no place for its cache; it gets one that lasts as long as the
    process. (A lasting one in a shared folder would let others put code into it: the cache holds pickles.)

    Parts are imported by one process at a time. They are compiled then, and two processes that fill one cache of numba
    at the same time may crash when they use it (numba #10128).

    Raises:
        ImportError: librosa is not installed.
    """
    import numba

    settings: Any = numba.config  # a module that gets its names when it is imported
    folder = next((folder for folder in _cache_folders(settings.CACHE_DIR) if _is_writable(folder)), None)
    if folder is None:
        settings.CACHE_DIR = tempfile.mkdtemp(prefix="descant-numba-")
        atexit.register(shutil.rmtree, settings.CACHE_DIR, ignore_errors=True)
    import librosa

    names = [f"librosa.{part}" for part in parts]
    if not all(name in sys.modules for name in names):
        with alone_in(folder) if folder is not None else nullcontext():
            for name in names:
                import_module(name)
    return librosa


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Waits until no other process is in the block for this folder, ``COMPILING_S`` at most."""
    latest = time.monotonic() + COMPILING_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except InvalidRequest:  # another process holds it
                if time.monotonic() > latest:
                    break
                time.sleep(0.1)
        yield


def _cache_folders(setting: str) -> list[Path]:
    """Where numba tries to keep what it compiles of librosa (numba/core/caching.py)."""
    from numba.misc.appdirs import AppDirs

    asked_for = [Path(setting)] if setting else []
    spec = find_spec("librosa")
    installed = [] if spec is None or spec.origin is None else [Path(spec.origin).parent / "util" / "__pycache__"]
    return [*asked_for, *installed, Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)]


def _is_writable(folder: Path) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
