"""A folder is replaced whole or not at all, and nothing else is left, whatever ends the process."""

import errno
import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from descant import atomic, staging
from descant.atomic import replacing_folder, write_atomically, write_new
from descant.errors import AudioError, CheckpointError
from descant.staging import ABANDONED_AFTER_S


def is_empty(folder: Path) -> bool:
    return not any(folder.iterdir())


def anything(folder: Path) -> bool:
    return folder.is_dir()


def fill(folder: Path, content: bytes, is_replaceable=is_empty) -> None:
    with replacing_folder(folder, is_replaceable) as new:
        (new / "weights").write_bytes(content)


def test_files_are_flushed_where_only_a_writer_may_do_so(tmp_path, monkeypatch):
    """As on Windows, where flushing a file that is open for reading is an error."""
    sync = atomic._sync

    def windows(descriptor):
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            assert fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
        sync(descriptor)

    monkeypatch.setattr(atomic, "_sync", windows)
    fill(tmp_path / "a", b"new")


FULL = {
    "a file": lambda folder: write_atomically(folder / "a", bytes(1 << 20)),
    "a new file": lambda folder: write_new(folder / "a", bytes(1 << 20)),
    "a folder": lambda folder: fill(folder / "a", bytes(1 << 20)),
}


@pytest.mark.parametrize("write", FULL.values(), ids=FULL.keys())
def test_a_full_disk_leaves_nothing(tmp_path, write):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises((AudioError, CheckpointError), match=r"cannot write '.*a': File too large"):
            write(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []


KILLED = """
import sys, time
from pathlib import Path
from descant.atomic import replacing_folder
with replacing_folder(Path("model"), lambda old: True) as new:
    (new / "weights").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def killed_while_writing(folder: Path, number: signal.Signals) -> None:
    options = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **options
    ) as process:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(number)


def grow_old(folder: Path, seconds: float) -> None:
    """Shifts all times in a folder into the past."""
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (time.time() - seconds,) * 2)


def test_ctrl_c_leaves_the_old_folder_and_nothing_else(tmp_path):
    (tmp_path / "model").mkdir()
    killed_while_writing(tmp_path, signal.SIGINT)
    assert os.listdir(tmp_path) == ["model"]
    assert os.listdir(tmp_path / "model") == []


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path):
    killed_while_writing(tmp_path, signal.SIGKILL)
    (left,) = os.listdir(tmp_path)
    write_atomically(tmp_path / "a", b"new")
    assert left in os.listdir(tmp_path), "not yet: it could be another machine's"
    grow_old(tmp_path / left, ABANDONED_AFTER_S + 1)
    staging._search_due_s.pop(tmp_path)  # as in another process
    write_atomically(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"]


def test_a_process_that_was_started_soon_after_a_kill_removes_what_was_left_later(tmp_path, monkeypatch):
    """A run that was started again at once kept half a checkpoint of each kill for as long as it trained."""
    killed_while_writing(tmp_path, signal.SIGKILL)
    (left,) = os.listdir(tmp_path)
    write_atomically(tmp_path / "a", b"new")
    grow_old(tmp_path / left, ABANDONED_AFTER_S + 1)
    write_atomically(tmp_path / "a", b"new")
    assert left in os.listdir(tmp_path)
    later = time.monotonic() + ABANDONED_AFTER_S + 1
    monkeypatch.setattr(staging.time, "monotonic", lambda: later)
    write_atomically(tmp_path / "a", b"new")
    assert os.listdir(tmp_path) == ["a"]


def test_a_process_looks_once_for_what_was_abandoned_in_a_folder(tmp_path, monkeypatch):
    scanned = []
    scandir = os.scandir
    monkeypatch.setattr(atomic.os, "scandir", lambda path: (scanned.append(path), scandir(path))[1])
    for number in range(3):
        write_atomically(tmp_path / f"{number}", b"new")
    assert scanned.count(tmp_path) == 1


def test_what_another_process_is_still_writing_stays_however_old_it_is(tmp_path):
    with replacing_folder(tmp_path / "model", is_empty) as new:
        (new / "weights").write_text("whole")
        grow_old(new.parent, 10 * ABANDONED_AFTER_S)
        write_atomically(tmp_path / "a", b"new")
        assert (new / "weights").read_text() == "whole"
    assert (tmp_path / "model" / "weights").read_text() == "whole"


def test_a_process_killed_between_old_and_new_loses_neither(tmp_path):
    """The old folder is back after the next write to the same parent."""
    staging = tmp_path / f".descant-{'0' * 16}.part"
    for name in ("new", "old/model"):
        (staging / name).mkdir(parents=True)
        (staging / name / "weights").write_text(name)
    grow_old(staging, ABANDONED_AFTER_S + 1)
    write_atomically(tmp_path / "a", b"new")
    assert sorted(os.listdir(tmp_path)) == ["a", "model"]
    assert (tmp_path / "model" / "weights").read_text() == "old/model"


@pytest.mark.parametrize("name", [".descant-0.part", "x.part", f".descant-{'0' * 16}.part.wav", f"{'0' * 16}"])
def test_nothing_else_is_removed(tmp_path, name):
    (tmp_path / name).mkdir()
    grow_old(tmp_path / name, 1e6)
    (tmp_path / f".descant-{'1' * 16}.part").write_text("a file of the user's")
    (tmp_path / f".descant-{'2' * 16}.part").symlink_to(name)
    write_atomically(tmp_path / "a", b"new")
    assert len(os.listdir(tmp_path)) == 4


def test_an_error_between_old_and_new_puts_the_old_folder_back(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")
    replace = os.replace

    def failing(source, destination):
        if Path(source).name == "new":
            raise OSError(errno.EIO, "Input/output error")
        replace(source, destination)

    monkeypatch.setattr(atomic.os, "replace", failing)
    with pytest.raises(CheckpointError, match="Input/output"):
        fill(tmp_path / "model", b"new", anything)
    assert os.listdir(tmp_path) == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_a_folder_that_may_not_be_replaced_stays(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "letters").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("model", "file"):
        with pytest.raises(CheckpointError, match="holds something else"), replacing_folder(tmp_path / name, is_empty):
            pass
    assert (tmp_path / "model" / "letters").read_text() == (tmp_path / "file").read_text() == "mine"


def test_a_folder_through_a_link_to_nothing_is_made_where_it_leads(tmp_path):
    (tmp_path / "link").symlink_to("nowhere/at/all")
    fill(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "nowhere/at/all/weights").read_bytes() == b"new"
    assert os.listdir(tmp_path / "nowhere/at") == ["all"]


@pytest.mark.parametrize(
    "fault",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/elsewhere/weights"),
        PermissionError(errno.EACCES, "Permission denied"),
        BrokenPipeError(errno.EPIPE, "Broken pipe"),
        ValueError("a mistake of the caller"),
    ],
    ids=repr,
)
def test_the_callers_own_errors_pass_as_they_are(tmp_path, fault):
    with pytest.raises(type(fault)) as raised, replacing_folder(tmp_path / "model", is_empty):
        raise fault
    assert raised.value is fault
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS])
def test_a_disk_that_takes_no_more_is_an_error_of_the_folder(tmp_path, number):
    with pytest.raises(CheckpointError, match="cannot write"), replacing_folder(tmp_path / "model", is_empty):
        raise OSError(number, os.strerror(number))


def test_an_error_about_a_file_in_the_new_folder_is_one_of_the_folder(tmp_path):
    with (
        pytest.raises(CheckpointError, match=r"cannot write '.*model': No such file"),
        replacing_folder(tmp_path / "model", is_empty) as new,
    ):
        (new / "no" / "weights").write_text("new")
