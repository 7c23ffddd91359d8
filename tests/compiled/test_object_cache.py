"""Object code on disk: read again as it was written, and only if nobody else can have written it."""

import errno
import multiprocessing
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from descant import user_files
from descant.compiled import object_cache
from descant.compiled.code import I64, POINTER, Code, Target
from descant.compiled.library import compiled_library
from descant.compiled.object_cache import VARIABLE, ObjectCache

PROGRAM, CODE = "program", bytes(range(256)) * 10

is_posix = pytest.mark.skipif(sys.platform == "win32", reason="modes and owners of files")


@pytest.fixture
def cache(tmp_path):
    return ObjectCache(tmp_path / "compiled", b"versions")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where this process keeps what it compiles."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "own"))
    return tmp_path / "own"


def add_store(module, number):
    """``store(where)`` writes the number."""
    WRITTEN.append(number)
    code = Code(module, "store", [POINTER])
    code.write(I64(number), code.function.args[0], I64(0))
    code.ret_void()


WRITTEN: list[int] = []
"""The numbers for which a program was written, and not read from the disk."""


def stored(number: int, target: Target | None = None) -> int:
    """What the compiled function writes."""
    found = np.zeros(1, np.int64)
    compiled_library(target or Target.host(), add_store, number).function("store", 1)(found.ctypes.data)
    return int(found[0])


def test_a_program_is_compiled_once_for_its_arguments_and_its_processor(folder):
    WRITTEN.clear()
    assert [stored(number) for number in (5, 7, 5, 7)] == [5, 7, 5, 7]
    assert WRITTEN == [5, 7]
    assert stored(5, Target("haswell")) == 5
    assert WRITTEN == [5, 7, 5]
    assert len([*folder.iterdir()]) == 3


def test_object_code_is_read_as_it_was_written(cache):
    assert cache.read(PROGRAM) is None
    cache.write(PROGRAM, CODE)
    assert cache.read(PROGRAM) == CODE
    assert cache.read("another program") is None
    assert ObjectCache(cache.folder, b"other versions").read(PROGRAM) is None


@pytest.mark.parametrize("change", ["cut", "empty", "flip", "foreign", "longer", "of another program"])
def test_a_damaged_file_is_written_again(cache, change):
    cache.write("another program", CODE)
    cache.write(PROGRAM, CODE)
    file = cache.path_of(PROGRAM)
    whole = file.read_bytes()
    damaged = {
        "cut": whole[:-1],
        "empty": b"",
        "flip": whole[:100] + bytes([whole[100] ^ 1]) + whole[101:],
        "foreign": b"\x7fELF",
        "longer": whole + b"\0",
        "of another program": cache.path_of("another program").read_bytes(),
    }
    file.write_bytes(damaged[change])
    assert cache.read(PROGRAM) is None
    cache.write(PROGRAM, CODE)
    assert cache.read(PROGRAM) == CODE


def test_damage_costs_only_the_time_to_compile(folder):
    assert stored(11) == 11
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-200])
    WRITTEN.clear()
    assert stored(11) == 11
    assert WRITTEN == [11]
    assert file.read_bytes() == whole


@is_posix
@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_code_that_others_can_write_is_not_loaded(cache, mode):
    cache.write(PROGRAM, CODE)
    cache.path_of(PROGRAM).chmod(mode)
    assert cache.read(PROGRAM) is None
    cache.write(PROGRAM, CODE)
    assert cache.read(PROGRAM) == CODE


@is_posix
def test_code_of_another_user_is_not_loaded(cache, monkeypatch):
    cache.write(PROGRAM, CODE)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert cache.read(PROGRAM) is None


@is_posix
def test_links_pipes_and_folders_are_not_loaded(cache, tmp_path):
    cache.write(PROGRAM, CODE)
    file, elsewhere = cache.path_of(PROGRAM), tmp_path / "elsewhere"
    file.rename(elsewhere)
    file.symlink_to(elsewhere)
    assert cache.read(PROGRAM) is None
    file.unlink()
    file.mkdir()
    assert cache.read(PROGRAM) is None
    cache.write(PROGRAM, CODE)
    assert [*cache.folder.iterdir()] == [file], "what could not be put in place is removed"


@is_posix
def test_written_files_are_private_whatever_the_umask(cache):
    before = os.umask(0)
    try:
        cache.write(PROGRAM, CODE)
    finally:
        os.umask(before)
    assert cache.folder.stat().st_mode & 0o777 == 0o700
    assert cache.path_of(PROGRAM).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("call", ["replace", "open"])
def test_a_full_or_read_only_disk_is_no_error(folder, monkeypatch, number, call):
    folder.mkdir()

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, fail)
    assert stored(13) == 13
    monkeypatch.undo()
    assert [*folder.iterdir()] == []


def test_a_file_in_place_of_the_folder_is_no_error(folder):
    folder.write_text("mine")
    assert stored(17) == 17
    assert folder.read_text() == "mine"


def test_the_oldest_files_are_removed_when_there_are_too_many(tmp_path):
    cache = ObjectCache(tmp_path, b"versions", max_bytes=10_000)
    (tmp_path / "tmp-of-a-killed-process").write_bytes(bytes(1_000))
    os.utime(tmp_path / "tmp-of-a-killed-process", (0, 0))
    for index in range(4):
        cache.write(str(index), bytes(2_000))
        os.utime(cache.path_of(str(index)), (100 + index, 100 + index))
    assert len([*tmp_path.iterdir()]) == 5
    cache.write("last", bytes(2_000))
    assert [cache.read(name) is not None for name in ("0", "1", "2", "3", "last")] == [False, False, False, True, True]
    assert len([*tmp_path.iterdir()]) == 2


def test_it_can_be_switched_off(monkeypatch, tmp_path):
    monkeypatch.setenv(VARIABLE, "off")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    WRITTEN.clear()
    assert (stored(19), stored(19)) == (19, 19)
    assert WRITTEN == [19, 19]
    assert [*tmp_path.iterdir()] == []


@is_posix
def test_the_folder_is_among_the_users_caches(monkeypatch, tmp_path):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert ObjectCache.of_user().folder == tmp_path / "descant" / "compiled"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert ObjectCache.of_user().folder.is_relative_to(tmp_path)


def test_a_user_without_a_home_has_no_cache(monkeypatch):
    def no_home() -> None:
        raise RuntimeError("no home")

    monkeypatch.delenv(VARIABLE)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(user_files.Path, "home", no_home)
    assert ObjectCache.of_user() is None
    assert stored(23) == 23


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of one file, from before this process, in place of ours."""
    (tmp_path / "package").mkdir()
    file = tmp_path / "package" / "code.py"
    file.write_text("one = 1")
    os.utime(file, (0, 0))
    monkeypatch.setattr(object_cache, "PACKAGE", tmp_path / "package")
    versions_of.cache_clear()
    yield file
    versions_of.cache_clear()


versions_of = object_cache._versions


def test_changed_source_means_other_code(package):
    before = versions_of()
    versions_of.cache_clear()
    assert versions_of() == before
    package.write_text("one = 2")
    os.utime(package, (0, 0))
    versions_of.cache_clear()
    assert versions_of() != before


def test_source_that_changed_after_it_was_imported_keeps_nothing(package, folder):
    os.utime(package, (time.time() + 1, time.time() + 1))
    assert versions_of() is None
    assert stored(29) == 29
    assert not folder.exists()


def test_a_package_without_source_keeps_nothing(package):
    package.unlink()
    assert versions_of() is None


def write_often(folder, seconds: float) -> None:
    """Writes and reads programs that other processes write too, in a folder that is always too full."""
    cache = ObjectCache(folder, b"versions", max_bytes=10 * len(CODE))
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for index in range(20):
            code = CODE + bytes([index])
            cache.write(str(index), code)
            assert cache.read(str(index)) in (code, None)


def test_processes_may_write_at_the_same_time(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=write_often, args=(tmp_path, 0.5)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    names = {ObjectCache(tmp_path, b"versions").path_of(str(index)) for index in range(20)}
    assert {*tmp_path.iterdir()} <= names, "temporary files are left"


SECOND = """
import descant
from descant.compiled import library

def fail(*_):
    raise AssertionError("compiled again")

library.object_code = fail
descant.load("tiny").generate("drums", duration_s=0.5, seed=0)
"""


def test_a_second_process_compiles_nothing(folder):
    environ = {**os.environ, VARIABLE: str(folder)}
    first = SECOND.replace("library.object_code = fail", "")
    for script in (first, SECOND):
        done = subprocess.run([sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
