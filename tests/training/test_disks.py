"""Runs on disks that are full or cannot be written, where this machine allows mounts of a test's own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("disks.py")


def test_a_run_on_a_full_and_then_read_only_disk_says_so_and_goes_on_when_there_is_room(tmp_path):
    apart = ["unshare", "-m"]
    allowed = [*apart, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)]
    if subprocess.run(allowed, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount")
    command = [*apart, sys.executable, str(SCRIPT), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert done.returncode == 0, done.stderr[-3_000:]
    found = json.loads(done.stdout)
    assert "No space left on device" in found["full"]
    assert "free the disk" in found["full"]
    assert 1 <= found["saved"] < 40
    assert "Read-only file system" in found["read-only"]
    assert found["full"].count("\n") == found["read-only"].count("\n") == 0
    assert (found["larger"], found["whole"], found["same_bits"]) == ("", "", True)
