"""The import of librosa for music analysis. numba compiles parts of it and needs a writable cache folder."""

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
"""No process compiles for longer: one that waits continues after that."""


def import_librosa(*parts: str) -> ModuleType:
    """librosa with the named submodules, even where neither its own folder nor the user's home is writable.

    There numba would fail for lack of a cache folder; it gets a temporary one for the life of the process. (A permanent
    one in a shared folder would let others inject code: the cache holds pickles.)

    Submodules are imported by one process at a time: importing compiles them, and two processes that fill one cache of
    numba at the same time may crash when they use it (numba #10128).

    Raises:
        ImportError: librosa is not installed.
    """
    import numba

    settings: Any = numba.config  # a module whose attributes are set at import
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
    """Waits until no other process is inside the block for this folder, at most ``COMPILING_S`` seconds."""
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
    """The cache folders that numba tries for librosa, in order (numba/core/caching.py)."""
    from numba.misc.appdirs import AppDirs

    configured = [Path(setting)] if setting else []
    spec = find_spec("librosa")
    installed = [] if spec is None or spec.origin is None else [Path(spec.origin).parent / "util" / "__pycache__"]
    return [*configured, *installed, Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)]


def _is_writable(folder: Path) -> bool:
    try:
        os.makedirs(folder, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
