"""Processes that train together, as forks of a script that has imported everything."""

import os
import socket
import sys

import torch._dynamo  # noqa: F401 (fully_shard imports it: here once for all forks)
from conftest import Toy

from descant.errors import ProcessLost

LOST = 3
"""The exit code of a process that lost another one."""


class SplitTask(Toy.Task):
    """A task whose model can be split."""

    def units(self):
        return [self.model]


def forked(run, num_processes, per_machine=1):
    """The ids of so many processes, each of which calls ``run`` with its rank, as torchrun would start them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return [_fork(run, rank, num_processes, per_machine, port) for rank in range(num_processes)]


def _fork(run, rank, num_processes, per_machine, port):
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ.update(
            RANK=str(rank), WORLD_SIZE=str(num_processes),
            LOCAL_RANK=str(rank % per_machine), LOCAL_WORLD_SIZE=str(per_machine),
            MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )  # fmt: skip
        run(rank)
        code = 0
    except ProcessLost:
        code = LOST
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(code)
