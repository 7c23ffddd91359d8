"""Checks of launcher and device before anything is loaded."""

import os
from collections.abc import Mapping

import torch

from descant.errors import ConfigError, InvalidRequest

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


def select_device(name: str) -> torch.device:
    """The device of that name; ``auto`` is a CUDA device if there is one, else the CPU.

    Raises:
        ConfigError: there is no such device; the message lists those that this machine has.
    """
    available = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in available and not (name == "cuda" and torch.cuda.is_available()):
        raise ConfigError(f"trainer.device={name!r}: this machine has {', '.join(available)}; use one of them or auto")
    return torch.device(name)
