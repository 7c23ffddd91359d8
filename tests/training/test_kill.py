"""Runs that are killed or stopped by a signal at arbitrary moments."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from descant.errors import Cancelled

SCRIPT = Path(__file__).with_name("killing.py")


def killed_again_and_again(toy, folder, max_steps, num_inside, num_anywhere):
    """Kills a run so many times inside a save, and at random moments, and compares it with one that was not killed."""
    command = [sys.executable, str(SCRIPT), str(folder / "parts"), *map(str, (max_steps, num_inside, num_anywhere))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3_000:]
    # On one thread, like the processes: another number of threads may change the last bits.
    toy.trainer(folder / "whole", num_threads=1, **{**toy.Slow.changes, "max_steps": max_steps}).run()
    (state, ours), (_, theirs) = (toy.final(folder / name) for name in ("parts", "whole"))
    assert state["step"] == max_steps
    assert toy.same_bits(ours, theirs)
    for kind in ("train", "validation"):
        assert toy.steps_logged(folder / "parts", kind) == toy.steps_logged(folder / "whole", kind)


def test_a_run_killed_twenty_times_inside_a_save_ends_with_the_same_bits(toy, tmp_path):
    killed_again_and_again(toy, tmp_path, max_steps=60, num_inside=20, num_anywhere=0)


@pytest.mark.slow
def test_a_run_killed_two_hundred_times_ends_with_the_same_bits(toy, tmp_path):
    killed_again_and_again(toy, tmp_path, max_steps=1_600, num_inside=50, num_anywhere=150)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_stopped_by_a_signal_saves_and_can_be_resumed(toy, tmp_path, number):
    class Stopping:
        def batch(self, step):
            if step == 7:
                os.kill(os.getpid(), number)
            return toy.Batches().batch(step)

    before = signal.getsignal(number)
    with pytest.raises(Cancelled, match="stopped at step"):
        toy.trainer(tmp_path / "parts", has_critic=True, batches=Stopping()).run()
    assert signal.getsignal(number) is before
    assert toy.final(tmp_path / "parts")[0]["step"] in range(1, 9)
    last, whole = (toy.trainer(tmp_path / name, has_critic=True) for name in ("parts", "whole"))
    last.run(resume=True)
    whole.run()
    assert toy.same_bits(toy.weights(last), toy.weights(whole))
