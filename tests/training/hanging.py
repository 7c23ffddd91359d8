"""Four processes on two machines, as far as they know, one of which hangs: a script of ``test_distributed.py``."""

import os
import signal
import sys
import time
from pathlib import Path

import torch
from conftest import Toy
from forks import LOST, SplitTask, forked

from descant.training.distributed import joined
from descant.training.trainer import Trainer

TIMEOUT_S = 5.0
HANGING = 3
LIMIT_S = 120.0


def main(folder):
    """Trains until the last process hangs; the others must notice it."""

    class Batches:
        def batch(self, number):
            if number == 9 and os.environ["RANK"] == str(HANGING):
                time.sleep(1_000)
            return Toy.Batches().batch(number)

    def run(rank):
        del rank
        changes = {"accumulate": 4, "mesh": "shard-in-node", "process_timeout_s": TIMEOUT_S}
        with joined(torch.device("cpu"), TIMEOUT_S):
            Trainer(SplitTask(), Batches(), Toy.config(**changes), folder).run()

    children = forked(run, 4, per_machine=2)
    until_s = time.monotonic() + LIMIT_S
    codes = {}
    while len(codes) < HANGING and time.monotonic() < until_s:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            codes[child] = os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    for child in children:
        if child not in codes:
            os.kill(child, signal.SIGKILL)
    assert codes == dict.fromkeys(children[:HANGING], LOST)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
