"""Atomic writes: files and folders that appear on disk complete or not at all.

Everything is first written to a hidden staging folder in the same parent folder and then renamed, which is one step for
the file system: a reader sees either the old content or the new. See `staging.py` for how that folder is removed::

    music/
      .descant-5f0c1a77e2b94d06.part/     removed at the end, also after an error
        lock                              locked for as long as the writing process lives
        new                               the content; renamed to music/piano.wav when complete
        old/my-model                      a folder that is being replaced, until the new one is in place
"""

import errno
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

from descant.errors import AudioError, CheckpointError, DescantError
from descant.staging import staging_folder

AnyPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

MAX_LINKS = 40
DISK_ERRORS = {errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EROFS, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""The numbers of errors of a full or broken disk."""
_ACCESS_LIST = "system.posix_acl_access"
_NOT_REPLACEABLE = (
    "a device, a pipe or a socket is not a file that can be replaced; "
    "descant generate --stream - writes to standard output"
)


def write_atomically(path: AnyPath, content: bytes) -> None:
    """Writes a file in one step. An existing file is replaced and keeps its mode and, where allowed, its owner.

    A symbolic link is kept: the file it points to is replaced.

    Raises:
        AudioError: the folder is missing, full or not writable; the file is write-protected; the path is a folder or a
            device.
    """
    with _reported_as(AudioError, path):
        place = place_of(path)
        with staging_folder(place.parent) as staging:
            _write(staging / "new", content, like=place)
            os.replace(staging / "new", place)
            flush(place.parent)


def write_new(path: Path, content: bytes, beside: Sequence[Path] = ()) -> Path:
    """Writes a file under a free name and returns its path: ``a.wav``, or ``a-2.wav``, ``a-3.wav``, ...

    Nothing is ever replaced, even if several processes choose names at the same moment.

    Args:
        beside: paths of files that are written later and belong to this one: with the number that it gets, they are
            free too.

    Raises:
        AudioError: as ``write_atomically``.
    """
    with _reported_as(AudioError, path), staging_folder(path.parent) as staging:
        _write(staging / "new", content)
        for free, *others in zip(*map(_numbered, (path, *beside)), strict=True):
            if not any(map(os.path.lexists, others)) and _put_if_free(staging / "new", free):
                break
        flush(path.parent)
        return free


def write_all(file: Any, content: bytes) -> None:
    """Writes all of ``content``: an unbuffered file may write only a part at a time, and returns its size.

    An object that is not one of Python's files and returns no size is assumed to have written everything.

    Raises:
        OSError: it accepts no more bytes.
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
    """Gives an empty folder to write to; after the block, and only if it succeeds, it replaces ``folder``.

    Files get the mode of the umask, or that of the file they replace. Everything is flushed to the disk first.

    Args:
        is_replaceable: whether an existing folder may be deleted.

    Raises:
        CheckpointError: something else exists there, or the folder cannot be written. Other errors of the block pass
            unchanged.
    """
    folder = Path(os.path.realpath(folder))
    if os.path.lexists(folder) and not (folder.is_dir() and is_replaceable(folder)):
        raise CheckpointError(f"{folder} exists and holds something else: choose another folder, or remove it")
    with ExitStack() as stack:
        with _reported_as(CheckpointError, folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            staging = stack.enter_context(staging_folder(folder.parent))
            new = staging / "new"
            new.mkdir()
        with _reported_as(CheckpointError, folder, within=staging):
            yield new
        with _reported_as(CheckpointError, folder):
            _copy_modes(new, folder)
            for path in (*new.rglob("*"), new):
                flush(path)
            _swap(staging, folder)
            os.replace(staging / "old", staging / "replaced")  # from here on the old folder is never restored
            flush(folder.parent)


def place_of(path: AnyPath) -> Path:
    """The file that a write to this path creates or replaces: the path itself, or the target of its symbolic links.

    Raises:
        OSError: the path cannot be replaced by a file, or the user may not do so.
    """
    place = Path(os.fsdecode(path))
    for _ in range(MAX_LINKS):
        parent = Path(os.path.realpath(place.parent))
        place = parent / place.name
        # /dev/stdout points to whatever the shell opened, perhaps a regular file; a new file in its place would not be
        # the one that the shell has open.
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
    # A rename would ignore that the file itself is write-protected.
    if not os.access(place, os.W_OK):
        raise PermissionError(errno.EACCES, "the file is write-protected", str(place))


@contextmanager
def _reported_as(error: type[DescantError], path: AnyPath, within: Path | None = None) -> Iterator[None]:
    """Turns errors of writing ``path`` into ``error``.

    Args:
        within: the block is the caller's: only errors of a full or broken disk, or about files in this folder, are
            errors of writing.
    """
    try:
        yield
    except DescantError:  # some of these are ValueErrors
        raise
    except (OSError, ValueError) as fault:
        if within is not None and not _is_write_error(fault, within):
            raise
        reason = getattr(fault, "strerror", None) or str(fault)
        raise error(f"cannot write {os.fsdecode(path)!r}: {reason}") from fault


def _is_write_error(fault: Exception, folder: Path) -> bool:
    if not isinstance(fault, OSError):
        return False
    if fault.errno in DISK_ERRORS:
        return True
    names = [name for name in (fault.filename, fault.filename2) if isinstance(name, str | bytes | os.PathLike)]
    return any(folder in Path(os.fsdecode(name)).parents for name in names)


def _write(new: Path, content: bytes, like: Path | None = None) -> None:
    """Writes a file and flushes it, so that it is not empty after a power cut."""
    with open(new, "xb") as file:
        if like is not None and like.exists():
            _copy_ownership(like, new)
        file.write(content)
        file.flush()
        _sync(file.fileno())


def _copy_ownership(old: Path, new: Path) -> None:
    """Copies mode, owner and access list of a replaced file; the last two only if this user may set them."""
    before, now = old.stat(), new.stat()
    if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
        with suppress(OSError):
            os.chown(new, -1, before.st_gid)
        with suppress(OSError):
            os.chown(new, before.st_uid, -1)
    new.chmod(stat.S_IMODE(before.st_mode) & 0o777)
    with suppress(OSError, AttributeError):  # AttributeError: only Linux has these functions
        os.setxattr(new, _ACCESS_LIST, os.getxattr(old, _ACCESS_LIST))


def _copy_modes(new: Path, old: Path) -> None:
    """Gives all files of a folder the umask's mode (some libraries use 0600), or that of the file they replace."""
    by_umask = new.stat().st_mode & 0o666
    for path in [path for path in new.rglob("*") if not path.is_dir()]:
        path.chmod(by_umask)
    for path in (*new.rglob("*"), new):
        before = old / path.relative_to(new)
        if before.exists():
            _copy_ownership(before, path)


def _swap(staging: Path, folder: Path) -> None:
    """Moves the old folder aside and the new one into place; if the second step fails, the old one is restored.

    The old folder is moved, not deleted: deleted file by file it would be half a model after a crash.
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
    """Gives a complete file the name ``path`` unless that name exists."""
    try:
        os.link(new, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links, or an error that the next call raises too
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return False
        try:
            os.close(descriptor)
            os.replace(new, path)
        except BaseException:
            if new.exists():  # the file of that name is still the empty one
                with suppress(OSError):
                    os.unlink(path)
            raise
    return True


def _numbered(path: Path) -> Iterator[Path]:
    yield path
    for number in count(2):
        yield path.with_name(f"{path.stem}-{number}{path.suffix}")


def flush(path: Path) -> None:
    """Flushes a file's content, or a folder's list of names, to the disk.

    Raises:
        OSError: it cannot be opened, or the disk is full or broken.
    """
    # Windows flushes only files that are open for writing; elsewhere a read-only file can be flushed too.
    for access in (os.O_RDONLY,) if path.is_dir() else (os.O_RDWR, os.O_RDONLY):
        try:
            descriptor = os.open(path, access)
        except PermissionError:  # Windows cannot open folders; elsewhere a file may be write-only
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
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):  # not supported by every file system
            raise
