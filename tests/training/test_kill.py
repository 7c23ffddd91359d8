"""Runs in processes of their own, stopped from outside."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from descant.training.checkpoint import newest_checkpoint, read_tensors
from descant.training.logs import read_log

SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import Toy

class Slow:
    def batch(self, step):
        time.sleep(0.01)
        return Toy.Batches().batch(step)

trainer = Toy.trainer(Path(sys.argv[2]), has_critic=True, batches=Slow(), max_steps=60, save_every=2, validate_every=10)
print("ready", flush=True)
trainer.run(resume=True)
"""


def begin(folder):
    """A process that trains there, once it has come to its first step."""
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def finish(process, code):
    with process:
        errors = process.communicate(timeout=120)[1]
    assert process.returncode == code, errors
    return errors


def final(folder):
    newest, state = newest_checkpoint(folder, note=pytest.fail)
    groups = ("trained", "average", "optimizer-student", "optimizer-critic")
    return state["step"], {
        f"{group}/{name}": tensor for group in groups for name, tensor in read_tensors(newest, group).items()
    }


def killed_again_and_again(toy, folder, times):
    whole = folder / "whole"
    finish(begin(whole), code=0)
    moments = random.Random(0)
    for _ in range(times):
        process = begin(folder / "parts")
        time.sleep(moments.uniform(0.0, 0.6))
        process.kill()
        finish(process, code=-signal.SIGKILL)
    finish(begin(folder / "parts"), code=0)
    (steps, ours), (_, theirs) = final(folder / "parts"), final(whole)
    assert steps == 60
    assert toy.same_bits(ours, theirs)
    for kind in ("train", "validation"):
        lines = [[line["step"] for line in read_log(at / "log.jsonl") if line["kind"] == kind] for at in (folder / "parts", whole)]
        assert lines[0] == lines[1]


def test_a_run_killed_three_times_ends_with_the_same_bits(toy, tmp_path):
    killed_again_and_again(toy, tmp_path, times=3)


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_with_the_same_bits(toy, tmp_path):
    killed_again_and_again(toy, tmp_path, times=20)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_saves_and_says_how_to_go_on(tmp_path, number):
    process = begin(tmp_path)
    time.sleep(0.3)
    process.send_signal(number)
    errors = finish(process, code=1)
    assert "Cancelled: stopped at step" in errors
    step, _ = final(tmp_path)
    assert f"stopped at step {step}, saved in" in errors
