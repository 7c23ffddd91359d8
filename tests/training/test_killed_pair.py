"""Runs of two processes, of which one or both are killed at arbitrary moments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("killing_pair.py")


def killed_again_and_again(toy, folder, max_steps, num_inside, num_anywhere):
    """Kills a run of two processes so many times, and compares it with one that was not killed."""
    command = [sys.executable, str(SCRIPT), str(folder), *map(str, (max_steps, num_inside, num_anywhere))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    (state, ours), (_, theirs) = (toy.final(folder / name) for name in ("parts", "whole"))
    assert state["step"] == max_steps
    assert any(name.endswith(".part-00001.safetensors") for name in state["files"])
    assert toy.same_bits(ours, theirs)
    for kind in ("train", "validation"):
        assert toy.steps_logged(folder / "parts", kind) == toy.steps_logged(folder / "whole", kind)


def test_a_pair_killed_eight_times_one_or_both_ends_with_the_same_bits(toy, tmp_path):
    killed_again_and_again(toy, tmp_path, max_steps=90, num_inside=6, num_anywhere=2)


@pytest.mark.slow
def test_a_pair_killed_two_hundred_times_one_or_both_ends_with_the_same_bits(toy, tmp_path):
    killed_again_and_again(toy, tmp_path, max_steps=2_400, num_inside=50, num_anywhere=150)
