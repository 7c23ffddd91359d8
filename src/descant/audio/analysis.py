"""The door to librosa, which analyses music. numba compiles parts of it and needs a folder to keep them in."""

import atexit
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any


def import_librosa() -> ModuleType:
    """librosa, also where neither its own folder nor the user's home can be written.

    numba would end the import there, since it finds no place for its cache; it gets one that lasts as long as the
    process. (A lasting one in a shared folder would let others put code into it: the cache holds pickles.)

    Raises:
        ImportError: librosa is not installed.
    """
    import numba

    settings: Any = numba.config  # a module that gets its names when it is imported
    if not any(_is_writable(folder) for folder in _cache_folders(settings.CACHE_DIR)):
        settings.CACHE_DIR = tempfile.mkdtemp(prefix="descant-numba-")
        atexit.register(shutil.rmtree, settings.CACHE_DIR, ignore_errors=True)
    import librosa

    return librosa


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
