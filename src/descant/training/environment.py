"""What the launcher of several processes says to each, read before anything is loaded."""

import os
from collections.abc import Mapping

from descant.errors import InvalidRequest

WORLD_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
"""The variables in which torchrun and accelerate, Open MPI, MPICH and srun give the number of processes."""


def refuse_several_processes(environment: Mapping[str, str] = os.environ) -> None:
    """Checks that a launcher did not start several processes together where they do not know of each other.

    Raises:
        InvalidRequest: it did; each process would train the same run in the same folder.
    """
    for name in WORLD_SIZES:
        value = environment.get(name, "")
        if value.isdecimal() and int(value) > 1:
            raise InvalidRequest(
                f"{name}={value}: training runs in one process here; only descant train runs in several, under "
                f"torchrun; start this without torchrun, mpirun or srun"
            )


def is_launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun started this process, alone or with others."""
    return {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= environment.keys()


def has_rank_above_0(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is one of several processes and not the first, which checks and writes for all."""
    return is_launched(environment) and int(environment["RANK"]) > 0


def is_restart(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether torchrun has started the processes again after one of them had failed (``--max-restarts``)."""
    return int(environment.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0
