"""A run that is killed again and again and then finished, in a script that ``test_kill.py`` starts.

Every run is a fork of this process, which has imported everything, so that one takes a fraction of a second.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from conftest import Slow, Toy

from descant.training import checkpoint_writer
from descant.training.checkpoint import newest_checkpoint

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.chmod"}
MOST_EVENTS = 80
"""About as many as two saves have."""


def train(folder, batches, max_steps):
    trainer = Toy.trainer(folder, batches=batches, **{**Slow.changes, "max_steps": max_steps})
    trainer.run(resume=trainer.log.file.exists())


def die_inside_a_save(after):
    """Kills this process at one of its next calls that write, rename or remove part of a checkpoint."""
    left = [after]

    def count():
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(event, values):
        # Removing a folder names its files without their folder.
        if event in EVENTS and (
            event in ("os.remove", "os.rmdir") or ".descant-" in str(values) or "step-" in str(values)
        ):
            count()

    save_file = checkpoint_writer.save_file

    def save_in_two_halves(tensors, file, metadata):
        save_file(tensors, file, metadata)
        content = file.read_bytes()
        file.write_bytes(content[: len(content) // 2])
        count()
        file.write_bytes(content)

    checkpoint_writer.save_file = save_in_two_halves
    sys.addaudithook(watch)


def killed(folder, max_steps, moment, inside):
    """Whether a run that continues in the folder was killed before its end."""
    child = os.fork()
    if child == 0:
        if inside:
            die_inside_a_save(after=moment.randint(1, MOST_EVENTS))
        train(folder, Toy.Batches() if inside else Slow(), max_steps)
        os._exit(0)
    if not inside:
        time.sleep(moment.uniform(0.0, 0.3))
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), f"the run failed: {status}"
    return status == signal.SIGKILL


def damaged(note):
    raise AssertionError(note)


def main(folder, max_steps, num_inside, num_anywhere):
    """Kills so many runs and lets the last one end."""
    moment = random.Random(0)
    kinds = [True] * num_inside + [False] * num_anywhere
    moment.shuffle(kinds)
    for number, inside in enumerate(kinds):
        assert killed(folder, max_steps, moment, inside), f"it ended after {number} kills: make it longer"
        newest_checkpoint(folder, note=damaged)
    train(folder, Toy.Batches(), max_steps)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
