"""Two processes that train one run and are killed again and again, in a script that ``test_killed_pair.py`` starts.

They are forks of this process, as in ``killing.py``, and split the weights of their model.
"""

import os
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from conftest import Slow, Toy
from forks import LOST, SplitTask, forked
from killing import damaged, die_inside_a_save

from descant.training.checkpoint import newest_checkpoint
from descant.training.distributed import joined
from descant.training.trainer import Trainer

MOST_EVENTS = (170, 30)
"""About as many as two saves have in each process: the first one also puts the folder into place and writes the log."""

WITHIN_S = 60.0
"""How long a process may take to notice that it is alone."""


@dataclass(frozen=True)
class Kill:
    """The process that is killed, inside a save or anywhere, alone or with the other one."""

    rank: int
    inside: bool
    both: bool


def train(folder, batches, max_steps, begun):
    changes = {"max_steps": max_steps, "save_every": 2, "validate_every": 10, "accumulate": 2, "mesh": "shard"}
    with joined(torch.device("cpu"), timeout_s=WITHIN_S):
        trainer = Trainer(SplitTask(has_critic=True), batches, Toy.config(**changes), folder)
        os.write(begun, b".")
        trainer.run(resume=trainer.log.file.exists())


def begun(folder, max_steps, kill=None, die_after=0):
    """The ids of two processes, by rank, once both have found each other to begin or continue a run."""
    batches = Slow() if kill is not None and not kill.inside else Toy.Batches()
    reading, writing = os.pipe()

    def run(rank):
        if kill is not None and kill.inside and kill.rank == rank:
            die_inside_a_save(die_after)
        train(folder, batches, max_steps, writing)

    children = forked(run, 2)
    os.close(writing)
    for _ in children:
        os.read(reading, 1)
    os.close(reading)
    return children


def next_end():
    """The id of a process that has ended, and its exit code."""
    child, status = os.wait()
    return child, os.waitstatus_to_exitcode(status)


def killed(folder, max_steps, moment, kill):
    """Kills a run that continues in the folder; a process that is left must end by itself, and say why."""
    children = begun(folder, max_steps, kill, die_after=moment.randint(1, MOST_EVENTS[kill.rank]))
    if not kill.inside:
        time.sleep(moment.uniform(0.0, 0.3))
        os.kill(children[kill.rank], signal.SIGKILL)
    codes = dict([next_end()])
    began_s = time.monotonic()
    if kill.both:
        os.kill(next(child for child in children if child not in codes), signal.SIGKILL)
    codes |= [next_end()]
    assert time.monotonic() - began_s < WITHIN_S
    left = codes[children[1 - kill.rank]]
    assert codes[children[kill.rank]] == -signal.SIGKILL, f"{kill}: {codes}"
    assert left == LOST or (kill.both and left == -signal.SIGKILL), f"{kill}: {codes}"


def finished(folder, max_steps):
    """Trains to the end."""
    begun(folder, max_steps)
    assert [next_end()[1] for _ in range(2)] == [0, 0]


def main(folder, max_steps, num_inside, num_anywhere):
    """Kills a run so many times and lets it end; another one, in the folder ``whole``, is never killed."""
    moment = random.Random(0)
    kills = [
        Kill(rank=number % 2, inside=inside, both=number % 4 in (0, 3))
        for inside, count in ((True, num_inside), (False, num_anywhere))
        for number in range(count)
    ]
    moment.shuffle(kills)
    for kill in kills:
        killed(folder / "parts", max_steps, moment, kill)
        newest_checkpoint(folder / "parts", note=damaged)
    for name in ("parts", "whole"):
        finished(folder / name, max_steps)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
