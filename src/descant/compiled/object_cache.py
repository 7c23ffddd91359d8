"""Object code on disk, so that a program is compiled once on a machine and not in every process.

A file's name is the hash of everything that decides its content: the program and its arguments, the processor, the
version of LLVM, and the source of this package. The content begins with a hash of itself and of the name. Whatever goes
wrong on disk only costs the time to compile.
"""

import os
import stat
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

import llvmlite
import llvmlite.binding as llvm

from descant.user_files import cache_folder

VARIABLE = "DESCANT_COMPILED_CODE"
"""Names a folder for object code, or is ``off``. Without it the folder is among the user's caches."""

MAX_BYTES = 2**25
"""The programs for one kind of model and one version of the package have about 100 KB."""

HASH_BYTES = 32

PACKAGE = Path(__file__).parent.parent

IMPORTED_AT = time.time()
"""What this process runs may differ from source that was written later."""


class ObjectCache:
    """Object code by the name of its program.

    Args:
        versions: what all object code depends on.
        max_bytes: of all files together. Beyond it the oldest are removed, until half of it is free.
    """

    def __init__(self, folder: Path, versions: bytes, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.versions, self.max_bytes = folder, versions, max_bytes

    @staticmethod
    def of_user() -> "ObjectCache | None":
        """That of the user of this process; None if there is none."""
        setting = os.environ.get(VARIABLE, "")
        caches = cache_folder()
        folder = Path(setting) if setting else caches and caches / "compiled"
        if setting.lower() == "off" or folder is None:
            return None
        versions = _versions()
        return None if versions is None else ObjectCache(folder, versions)

    def read(self, program: str) -> bytes | None:
        """The object code of a program; None if it is not there whole, or if others could have written it."""
        content = b""
        with suppress(OSError), open(self.path_of(program), "rb", opener=_without_links) as file:
            content = file.read() if _is_private(os.fstat(file.fileno())) else b""
        code = content[HASH_BYTES:]
        return code if content[:HASH_BYTES] == self._hash_of(program, code) else None

    def write(self, program: str, code: bytes) -> None:
        """Keeps the object code of a program, if that is possible."""
        with suppress(OSError):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Other processes see all of the file or nothing. Nobody but its owner can open it.
            number, new = tempfile.mkstemp(dir=self.folder)
            try:
                with open(number, "wb") as file:
                    file.write(self._hash_of(program, code) + code)
                os.replace(new, self.path_of(program))
            except BaseException:
                os.unlink(new)
                raise
            self._remove_oldest()

    def path_of(self, program: str) -> Path:
        """The file with a program's object code."""
        return self.folder / sha256(self.versions + program.encode()).hexdigest()

    def _hash_of(self, program: str, code: bytes) -> bytes:
        return sha256(self.path_of(program).name.encode() + code).digest()

    def _remove_oldest(self) -> None:
        files = [(path.lstat().st_mtime, path.lstat().st_size, path) for path in self.folder.iterdir()]
        num_bytes = sum(size for _, size, _ in files)
        if num_bytes <= self.max_bytes:
            return
        for _, size, path in sorted(files):
            if num_bytes <= self.max_bytes // 2:
                return
            path.unlink(missing_ok=True)
            num_bytes -= size


def _without_links(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0))


def _is_private(status: os.stat_result) -> bool:
    """Whether this is a file of the user's that nobody else can write to."""
    if sys.platform == "win32":  # where modes say nothing, and the folder is closed to other users
        return stat.S_ISREG(status.st_mode)
    is_own = status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return is_own and stat.S_ISREG(status.st_mode)


@cache
def _versions() -> bytes | None:
    """The versions of LLVM and of the package's source, as a hash; None if the source is missing, or newer than what
    this process runs."""
    versions = sha256(repr((llvmlite.__version__, llvm.llvm_version_info, llvm.get_process_triple())).encode())
    files = sorted(PACKAGE.rglob("*.py"))
    try:
        for file in files:
            if file.stat().st_mtime > IMPORTED_AT:
                return None
            versions.update(sha256(file.read_bytes()).digest())
    except OSError:
        return None
    return versions.digest() if files else None
