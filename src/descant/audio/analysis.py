"""The door to librosa, which analyses music. numba compiles parts of it and needs a folder to keep them in."""

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from descant.errors import InvalidRequest
from descant.folder_lock import locked

COMPILING_S = 600.0
"""No process compiles for longer: one that waits goes on after that."""


@cache
def import_librosa() -> ModuleType:
    """librosa, also where neither its own folder nor the user's home can be written.

    numba would end the import there, since it finds no place for its cache; it gets one that lasts as long as the
    process. (A lasting one in a shared folder would let others put code into it: the cache holds pickles.)

    Raises:
        ImportError: librosa is not installed.
    """
    import numba

    settings: Any = numba.config  # a module that gets its names when it is imported
    if _lasting_cache(settings.CACHE_DIR) is None:
        settings.CACHE_DIR = tempfile.mkdtemp(prefix="descant-numba-")
        atexit.register(shutil.rmtree, settings.CACHE_DIR, ignore_errors=True)
    import librosa

    return librosa


@cache
def compiled_librosa() -> ModuleType:
    """librosa with its trackers of beats and onsets compiled, by one process at a time: two that fill one cache of
    numba at the same time may crash when they use it (numba #10128).

    Raises:
        ImportError: librosa is not installed.
    """
    librosa = import_librosa()
    import numba

    settings: Any = numba.config
    folder = _lasting_cache(settings.CACHE_DIR)
    with ExitStack() as stack:
        if folder is not None:
            stack.enter_context(alone_in(folder))
        _compile(librosa)
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


def _compile(librosa: ModuleType) -> None:
    """Runs what `evaluation/musical.py` uses, on a second of clicks."""
    clicks = np.zeros(22_050, np.float32)
    clicks[::5_000] = 1.0
    librosa.onset.onset_detect(y=clicks, sr=22_050)
    librosa.beat.beat_track(y=clicks, sr=22_050)


def _lasting_cache(setting: str) -> Path | None:
    return next((folder for folder in _cache_folders(setting) if _is_writable(folder)), None)


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
