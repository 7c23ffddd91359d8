"""Files and folders that appear on disk whole or not at all.

Everything is first written into a hidden staging folder beside its destination and then renamed, which is one step for
the file system: whoever looks sees the old content or the new. An error or Ctrl-C removes the staging folder. A process
that is killed outright cannot, so the first write of a later process into the same folder removes what it finds
abandoned there::

    music/
      .descant-5f0c1a77e2b94d06.part/     removed in the end, also after an error
        lock                              locked for as long as the writing process lives
        new                               the content; renamed to music/piano.wav when complete
        old/my-model                      a folder that is being replaced, until the new one is in place
"""

import atexit
import errno
import io
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from descant.errors import AudioError, CheckpointError, DescantError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and nothing is swept
    fcntl = None  # type: ignore[assignment]

AnyPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

MAX_LINKS = 40
ABANDONED_AFTER_S = 600.0
"""A staging folder counts as abandoned when nothing in it has changed for so long *and* no process holds its lock.

The lock alone would do on a local disk. Some network file systems keep locks within one machine, though, and there a
second machine would delete what the first is still writing.
"""

_unfinished: dict[Path, int] = {}
"""The staging folders of this process, with its number: a fork has the list too, and must leave them alone."""

_swept: set[Path] = set()
"""The folders in which this process has looked for what others abandoned: a look at each write would be slow in large
ones."""

_DISK_ERRORS = {errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
_STAGING_NAME = re.compile(r"\.descant-[0-9a-f]{16}\.part")
_ACCESS_LIST = "system.posix_acl_access"
_NOT_REPLACEABLE = (
    "a device, a pipe or a socket is not a file that can be replaced; "
    "descant generate --stream - writes to standard output"
)


def write_atomically(path: AnyPath, content: bytes) -> None:
    """Writes a file in one step. An existing file is replaced and keeps its mode and, where allowed, its owner.

    A symbolic link stays: the file it leads to is replaced.

    Raises:
        AudioError: the folder is missing, full or not writable; the file is write-protected; the path is a folder or a
            device.
    """
    with _reported_as(AudioError, path):
        place = place_of(path)
        with _staging(place.parent) as staging:
            _write(staging / "new", content, like=place)
            os.replace(staging / "new", place)
            _flush(place.parent)


def write_new(path: Path, content: bytes) -> Path:
    """Writes a file under a name that is still free, and gives that path: ``a.wav``, or ``a-2.wav``, ``a-3.wav``, ...

    Nothing is ever replaced, not even where several processes choose their names at the same moment.

    Raises:
        AudioError: as ``write_atomically``.
    """
    with _reported_as(AudioError, path), _staging(path.parent) as staging:
        _write(staging / "new", content)
        free = next(name for name in _numbered(path) if _put_if_free(staging / "new", name))
        _flush(path.parent)
        return free


def write_all(file: Any, content: bytes) -> None:
    """Writes all of it: a file without a buffer may take only a part at a time, and says how much.

    An object that is not one of Python's files and gives no count is taken to have written everything.

    Raises:
        OSError: it takes no more.
    """
    rest: bytes | memoryview = content
    while rest:
        count = file.write(rest)
        if count is None and not isinstance(file, io.IOBase):
            return
        if not count:
            raise OSError(errno.EAGAIN, f"it took only {len(content) - len(rest)} of {len(content)} bytes")
        rest = memoryview(rest)[count:]


@contextmanager
def replacing_folder(folder: Path, is_replaceable: Callable[[Path], bool]) -> Iterator[Path]:
    """Gives an empty folder to write into; after the block, and only if it succeeds, it takes the place of ``folder``.

    Files get the mode that the umask gives, or that of the file they replace. All is flushed to the disk first.

    Args:
        is_replaceable: whether an existing folder may be deleted.

    Raises:
        CheckpointError: something else is there already, or the folder cannot be written. Errors of the block that are
            not of writing there pass as they are.
    """
    folder = Path(os.path.realpath(folder))
    if os.path.lexists(folder) and not (folder.is_dir() and is_replaceable(folder)):
        raise CheckpointError(f"{folder} exists and holds something else: choose another folder, or remove it")
    with ExitStack() as stack:
        with _reported_as(CheckpointError, folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            staging = stack.enter_context(_staging(folder.parent))
            new = staging / "new"
            new.mkdir()
        with _reported_as(CheckpointError, folder, within=staging):
            yield new
        with _reported_as(CheckpointError, folder):
            _settle_modes(new, folder)
            for path in (*new.rglob("*"), new):
                _flush(path)
            _swap(staging, folder)
            os.replace(staging / "old", staging / "replaced")  # from here on the old folder is never put back
            _flush(folder.parent)


def place_of(path: AnyPath) -> Path:
    """The file that a write to this path creates or replaces: the path itself, or where its symbolic links lead.

    Raises:
        OSError: the path cannot be replaced by a file, or the user may not do so.
    """
    place = Path(os.fsdecode(path))
    for _ in range(MAX_LINKS):
        parent = Path(os.path.realpath(place.parent))
        place = parent / place.name
        # /dev/stdout leads to whatever the shell opened, perhaps a regular file, and a new file in its place would not
        # be the one that the shell reads.
        if parent == Path("/dev") or Path("/proc") in (parent, *parent.parents):
            raise OSError(errno.EINVAL, _NOT_REPLACEABLE, str(path))
        if not place.is_symlink():
            _check_replaceable(place)
            return place
        place = parent / os.readlink(place)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def _check_replaceable(place: Path) -> None:
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(place))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, _NOT_REPLACEABLE, str(place))
    # A rename would not ask whether the file itself is write-protected.
    if not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is write-protected", str(place))


@contextmanager
def _reported_as(error: type[DescantError], path: AnyPath, within: Path | None = None) -> Iterator[None]:
    """Turns what went wrong with the writing of ``path`` into ``error``.

    Args:
        within: the block is the caller's, and only errors of a full or broken disk, or about files in this folder, are
            about writing.
    """
    try:
        yield
    except DescantError:  # some of ours are ValueErrors
        raise
    except (OSError, ValueError) as fault:
        if within is not None and not _is_of_writing(fault, within):
            raise
        reason = getattr(fault, "strerror", None) or str(fault)
        raise error(f"cannot write {os.fsdecode(path)!r}: {reason}") from fault


def _is_of_writing(fault: Exception, folder: Path) -> bool:
    if not isinstance(fault, OSError):
        return False
    if fault.errno in _DISK_ERRORS:
        return True
    names = [name for name in (fault.filename, fault.filename2) if isinstance(name, str | bytes | os.PathLike)]
    return any(folder in Path(os.fsdecode(name)).parents for name in names)


@contextmanager
def _staging(parent: Path) -> Iterator[Path]:
    """A locked folder of its own in ``parent``. Its name is short, whatever the name of the file to come."""
    staging = parent / f".descant-{secrets.token_hex(8)}.part"
    _unfinished[staging] = os.getpid()
    try:
        staging.mkdir(mode=0o700)
        with open(staging / "lock", "xb") as lock:
            if fcntl is not None:
                with suppress(OSError):  # a file system without locks: this folder is then never swept
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sweep(parent, now=staging.stat().st_mtime)
            yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        _unfinished.pop(staging, None)


@atexit.register
def _remove_unfinished() -> None:
    """Removes what Ctrl-C has left by coming between the lines of ``_staging``, or while it was removing a folder."""
    for staging, process in _unfinished.items():
        if process == os.getpid():
            shutil.rmtree(staging, ignore_errors=True)


def _sweep(parent: Path, now: float) -> None:
    """Removes abandoned staging folders, after putting back what was being replaced when its process was killed.

    Args:
        now: by the clock of the file system, which may be another machine's.
    """
    if fcntl is None or parent in _swept:
        return
    _swept.add(parent)
    with suppress(OSError), os.scandir(parent) as entries:
        for entry in entries:
            if _STAGING_NAME.fullmatch(entry.name) and _is_abandoned(entry, now):
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
    except FileNotFoundError:  # killed before there was a lock, or while it was removed
        return staging.is_dir() and now - staging.lstat().st_mtime >= ABANDONED_AFTER_S
    except OSError:
        return False


def _write(new: Path, content: bytes, like: Path | None = None) -> None:
    """Writes a file and flushes it: after a power cut its name must not stand for an empty file."""
    with open(new, "xb") as file:
        if like is not None and like.exists():
            _copy_ownership(like, new)
        file.write(content)
        file.flush()
        _sync(file.fileno())


def _copy_ownership(old: Path, new: Path) -> None:
    """Mode, owner and access list of the file that is replaced; the last two as far as this user may set them."""
    before, now = old.stat(), new.stat()
    if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
        with suppress(OSError):
            os.chown(new, -1, before.st_gid)
        with suppress(OSError):
            os.chown(new, before.st_uid, -1)
    new.chmod(stat.S_IMODE(before.st_mode) & 0o777)
    with suppress(OSError, AttributeError):  # AttributeError: only Linux has these functions
        os.setxattr(new, _ACCESS_LIST, os.getxattr(old, _ACCESS_LIST))


def _settle_modes(new: Path, old: Path) -> None:
    """Gives all files of a folder one mode: some libraries write theirs as 0600, whatever the umask."""
    by_umask = new.stat().st_mode & 0o666
    for path in [path for path in new.rglob("*") if not path.is_dir()]:
        path.chmod(by_umask)
    for path in (*new.rglob("*"), new):
        before = old / path.relative_to(new)
        if before.exists():
            _copy_ownership(before, path)


def _swap(staging: Path, folder: Path) -> None:
    """Moves the new folder into place and the old one aside; if that fails in between, the old one goes back.

    It is moved rather than deleted, for a folder deleted file by file would, after a crash, be half a model.
    """
    aside = staging / "old" / folder.name
    aside.parent.mkdir()
    try:
        if folder.exists():
            os.replace(folder, aside)
        os.replace(staging / "new", folder)
    except BaseException:
        if aside.exists() and not folder.exists():
            os.replace(aside, folder)
        raise


def _put_if_free(new: Path, path: Path) -> bool:
    """Gives a complete file the name ``path`` unless that name is taken."""
    try:
        os.link(new, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links, or an error that the next call meets as well
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        try:
            os.close(descriptor)
            os.replace(new, path)
        except BaseException:
            if new.exists():  # what has the name is still the empty file
                with suppress(OSError):
                    os.unlink(path)
            raise
    return True


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def _flush(path: Path) -> None:
    """Brings a file's content, or a folder's list of names, to the disk."""
    # Windows flushes only what is open for writing; elsewhere a file may be read-only, and does as well.
    for access in (os.O_RDONLY,) if path.is_dir() else (os.O_RDWR, os.O_RDONLY):
        try:
            descriptor = os.open(path, access)
        except PermissionError:  # Windows opens no folders; elsewhere a file may be write-only
            continue
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)
        return


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # not every file system can
            raise
