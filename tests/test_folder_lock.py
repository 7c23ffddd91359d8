import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from descant import folder_lock
from descant.errors import DataError, InvalidRequest
from descant.folder_lock import NAME, locked

HOLD = """
import sys, time
from descant.folder_lock import locked
with locked(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_made_held_and_left_clean(tmp_path):
    with locked(tmp_path / "new" / "folder"):
        with (
            pytest.raises(InvalidRequest, match=rf"in use by process {os.getpid()} on"),
            locked(tmp_path / "new/folder"),
        ):
            pass
        assert (tmp_path / "new" / "folder" / NAME).exists()
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    with locked(tmp_path / "new" / "folder"):
        pass


def test_a_killed_process_leaves_no_lock_behind(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(InvalidRequest, match=f"in use by process {process.pid} on"), locked(tmp_path):
            pass
        process.kill()
    assert (tmp_path / NAME).exists()
    with locked(tmp_path):
        pass


def test_a_lock_file_removed_between_two_calls_is_not_taken_for_the_lock(tmp_path, monkeypatch):
    """Its holder removes the file when it ends: who opened it before holds a file that the next one does not see."""
    lock, calls = folder_lock._lock, []

    def removed_at_first(descriptor):
        lock(descriptor)
        calls.append(descriptor)
        if len(calls) == 1:
            (tmp_path / NAME).unlink()

    monkeypatch.setattr(folder_lock, "_lock", removed_at_first)
    with locked(tmp_path):
        assert len(calls) == 2
        assert (tmp_path / NAME).exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "folder", "/proc/nosuch"):
        with pytest.raises(DataError, match="cannot write to the folder"), locked(place):
            pass


def test_a_file_system_without_locks_is_said_and_stops_nothing(tmp_path, monkeypatch, caplog):
    def unsupported(_descriptor, _operation):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with locked(tmp_path):
        assert "has no locks" in caplog.text


def test_a_file_removed_by_its_last_holder_just_now_is_made_anew(tmp_path, monkeypatch):
    """Between the look whether it exists and the next one it may go."""
    lock, removed = folder_lock._lock, []

    def lock_after_removal(descriptor):
        lock(descriptor)
        if not removed:
            removed.append(True)
            (tmp_path / folder_lock.NAME).unlink()

    monkeypatch.setattr(folder_lock, "_lock", lock_after_removal)
    monkeypatch.setattr(Path, "exists", lambda _: True)
    with folder_lock.locked(tmp_path):
        assert removed
        assert (tmp_path / folder_lock.NAME).read_text().startswith("process")
