"""Hidden staging folders: where content is written before it is renamed to its destination.

An error or Ctrl-C removes the staging folder. A killed process cannot do so, so a later process that writes to the same
parent folder removes the staging folders that it finds abandoned there: at its first write, and again while there are
some that may yet be.
"""

import atexit
import math
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and nothing is removed
    fcntl = None  # type: ignore[assignment]

ABANDONED_AFTER_S = 600.0
"""A staging folder is abandoned if nothing in it has changed for this long *and* no process holds its lock.

The lock alone would suffice on a local disk. But on some network file systems locks are local to a machine, and a
second machine would delete what the first is still writing.
"""

_unfinished: dict[Path, int] = {}
"""The staging folders of this process, with its id: a forked process has a copy, and must not remove them."""

_search_due_s: dict[Path, float] = {}
"""When this process searches a folder for abandoned staging folders again, by ``time.monotonic``: only after a search
that found one which might be abandoned later. A search for each write would be slow in large folders."""

_STAGING_NAME = re.compile(r"\.descant-[0-9a-f]{16}\.part")


@contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """Gives a new, locked folder in ``parent`` and removes it after the block. Its name is always short."""
    staging = parent / f".descant-{secrets.token_hex(8)}.part"
    _unfinished[staging] = os.getpid()
    try:
        staging.mkdir(mode=0o700)
        with open(staging / "lock", "xb") as lock:
            if fcntl is not None:
                with suppress(OSError):  # a file system without locks: this folder is then never removed by others
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove_abandoned(parent, own=staging, now=staging.stat().st_mtime)
            yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        _unfinished.pop(staging, None)


@atexit.register
def _remove_unfinished() -> None:
    """Removes the folders left by a Ctrl-C at a bad moment, for example while a folder was being removed."""
    for staging, process in _unfinished.items():
        if process == os.getpid():
            shutil.rmtree(staging, ignore_errors=True)


def _remove_abandoned(parent: Path, own: Path, now: float) -> None:
    """Removes abandoned staging folders, and restores a folder that was being replaced when its process was killed.

    Args:
        own: the staging folder that this process has just made.
        now: by the clock of the file system, which may be another machine's.
    """
    if fcntl is None or time.monotonic() < _search_due_s.get(parent, 0.0):
        return
    _search_due_s[parent] = math.inf
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if entry.name == own.name or not _STAGING_NAME.fullmatch(entry.name):
                continue
            if not _is_abandoned(entry, now):
                _search_due_s[parent] = time.monotonic() + ABANDONED_AFTER_S
                continue
            for old in Path(entry.path).glob("old/*"):
                if not os.path.lexists(parent / old.name):
                    os.replace(old, parent / old.name)
            shutil.rmtree(entry.path, ignore_errors=True)


def _is_abandoned(entry: "os.DirEntry[str]", now: float) -> bool:
    found = entry.stat(follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        return False
    staging = Path(entry.path)
    try:
        changed = max(path.lstat().st_mtime for path in (staging, *staging.rglob("*")))
        if now - changed < ABANDONED_AFTER_S:
            return False
        with open(staging / "lock", "rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except FileNotFoundError:  # killed before the lock was created, or while the folder was being removed
        return staging.is_dir() and now - staging.lstat().st_mtime >= ABANDONED_AFTER_S
    except OSError:
        return False
