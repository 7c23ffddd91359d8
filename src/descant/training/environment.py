"""Checks of the launcher before anything is loaded."""

import os
from collections.abc import Mapping

from descant.errors import InvalidRequest

WORLD_SIZES = ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")
"""The variables in which torchrun and accelerate, Open MPI, MPICH and srun give the number of processes."""


def refuse_several_processes(environment: Mapping[str, str] = os.environ) -> None:
    """Checks that a launcher did not start several processes together.

    Raises:
        InvalidRequest: it did; each process would train the same run in the same folder.
    """
    for name in WORLD_SIZES:
        value = environment.get(name, "")
        if value.isdecimal() and int(value) > 1:
            raise InvalidRequest(
                f"{name}={value}: training runs in one process; start it without torchrun, mpirun or srun, "
                f"on one device"
            )
