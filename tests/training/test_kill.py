"""Runs that are killed or stopped by a signal at arbitrary moments."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from descant.errors import Cancelled
from descant.training.checkpoint import newest_checkpoint, read_tensors
from descant.training.logs import read_log

SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import Toy, Slow
trainer = Toy.trainer(Path(sys.argv[2]), batches=Slow(), **Slow.changes)
print("ready", flush=True)
trainer.run(resume=trainer.log.file.exists())
"""


def begin(folder):
    """A process that trains in the folder and is about to start its first step."""
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True)
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def finish(process, code):
    with process:
        errors = process.communicate()[1]
    assert process.returncode == code, errors


def final(folder):
    newest, state = newest_checkpoint(folder, note=pytest.fail)
    groups = ("trained", "average", "optimizer-student", "optimizer-critic")
    return state["step"], {
        f"{group}/{name}": tensor for group in groups for name, tensor in read_tensors(newest, group).items()
    }


def steps_logged(folder, kind):
    return [line["step"] for line in read_log(folder / "log.jsonl") if line["kind"] == kind]


def killed_again_and_again(toy, folder, times):
    moments = random.Random(0)
    for _ in range(times):
        process = begin(folder / "parts")
        time.sleep(moments.uniform(0.0, 0.6))
        process.kill()
        process.wait()
        finish(process, code=process.returncode)
    finish(begin(folder / "parts"), code=0)
    # On one thread, like the processes: another number of threads may change the last bits.
    toy.trainer(folder / "whole", num_threads=1, **toy.Slow.changes).run()
    (steps, ours), (_, theirs) = final(folder / "parts"), final(folder / "whole")
    assert steps == 60
    assert toy.same_bits(ours, theirs)
    for kind in ("train", "validation"):
        assert steps_logged(folder / "parts", kind) == steps_logged(folder / "whole", kind)


def test_a_run_killed_twice_ends_with_the_same_bits(toy, tmp_path):
    killed_again_and_again(toy, tmp_path, times=2)


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_with_the_same_bits(toy, tmp_path):
    killed_again_and_again(toy, tmp_path, times=20)


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
    assert final(tmp_path / "parts")[0] in range(1, 9)
    last, whole = (toy.trainer(tmp_path / name, has_critic=True) for name in ("parts", "whole"))
    last.run(resume=True)
    whole.run()
    assert toy.same_bits(toy.weights(last), toy.weights(whole))
