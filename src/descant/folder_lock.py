"""A lock that allows one process at a time in a folder, for training runs and folders of shards.

The operating system holds the lock and releases it when the process ends, however it ends: there are no stale locks.
"""

import errno
import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from descant.errors import DataError, InvalidRequest

LOG = logging.getLogger(__name__)
NAME = ".descant.lock"


@contextmanager
def locked(folder: str | os.PathLike[str], name: str = NAME) -> Iterator[None]:
    """Locks a folder, which is created if it is missing, until the context ends.

    Args:
        name: of the file that is locked; another one locks for another purpose.

    Raises:
        InvalidRequest: another process, or another part of this one, holds the lock.
        DataError: the folder cannot be created or written to.
    """
    path = Path(folder) / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _acquired(path)
    except BlockingIOError as error:
        raise InvalidRequest(
            f"{str(folder)!r} is in use by {_holder(path)}: wait until that has ended, or choose another folder"
        ) from error
    except OSError as error:
        raise DataError(f"cannot write to the folder {str(folder)!r}: {error.strerror or error}") from error
    try:
        yield
    finally:
        # Removed while it is held. Where an open file cannot be removed (Windows) it stays, which is harmless.
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _acquired(path: Path) -> int:
    """The descriptor of the locked file, which names its holder."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(descriptor)
            # Its last holder may have removed it between the two calls: then this file is not the one that others see.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    os.ftruncate(descriptor, 0)
                    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Takes the lock or raises ``BlockingIOError``."""
    if sys.platform == "win32":
        import msvcrt

        try:
            # A byte far beyond the text, so that others can still read the holder's name.
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        except PermissionError as error:
            raise BlockingIOError from error
    else:
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
            LOG.warning("this file system has no locks: start nothing else in the same folder")


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")[:200] or "another process"
    except OSError:
        return "another process"
