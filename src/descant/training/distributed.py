"""Training in several processes: how they find each other, which batches each computes, and what they agree on.

``torchrun`` starts the processes and gives each its rank; gloo connects them on a CPU, NCCL on GPUs. What a run
computes does not depend on their number: ``accumulate`` counts the batches of an update over all of them, and the
random numbers of a batch follow from its number. One process with ``accumulate=2`` and two processes do the same.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from descant import processes
from descant.errors import ConfigError, ProcessLost
from descant.training.environment import is_launched

T = TypeVar("T")

PATIENCE = timedelta(minutes=30)
"""How long processes wait while the first one reads or writes files. One that has died is noticed at once."""

LOST_PEER = ("gloo", "nccl", "connection closed by peer", "connection reset by peer", "timed out", "timeout")
"""How the messages of errors in the exchange of tensors are recognised: PyTorch has no class for all of them."""


def own_device(device: torch.device, environment: Mapping[str, str] = os.environ) -> torch.device:
    """The device of this process: a GPU without a number is another one for each process of a machine."""
    if device == torch.device("cuda") and "LOCAL_RANK" in environment:
        return torch.device("cuda", int(environment["LOCAL_RANK"]))
    return device


@contextmanager
def joined(device: torch.device, timeout_s: float) -> Iterator[None]:
    """Within the block the processes that torchrun started together know of each other; alone, nothing changes.

    Args:
        device: this process' own.
        timeout_s: how long a process waits for the others in an update.

    Raises:
        ProcessLost: another process has ended, or did not answer in time.
    """
    if not is_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        # Flags and objects go over gloo in any case, so a process that is lost is noticed outside of the GPU's queue.
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        _meet(backend, timedelta(seconds=timeout_s))
        yield
    except RuntimeError as error:
        if not _is_lost_peer(error):
            raise
        raise ProcessLost(
            f"process {os.environ['RANK']}: another process of this run has ended, or did not answer within "
            f"{timeout_s:g} s ({' '.join(str(error).split()):.200}); the run continues from its last checkpoint with "
            f"--resume, or by itself under torchrun --max-restarts"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _meet(backend: str, timeout: timedelta) -> None:
    """Lets the processes find each other, at addresses that they have since this start.

    Torchrun's own store lives on when it starts the processes again, with the addresses of those that have ended (seen
    with PyTorch 2.13). On one machine the number of the start tells them apart. Machines may count differently:
    there torchrun must open another store for each start (``TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1``).
    """
    if os.environ.get("GROUP_WORLD_SIZE") != "1":
        dist.init_process_group(backend, timeout=timeout)
        return
    store, rank, num_processes = next(dist.rendezvous("env://", timeout=timeout))
    of_start = dist.PrefixStore(f"start-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    dist.init_process_group(backend, store=of_start, rank=rank, world_size=num_processes, timeout=timeout)


def _is_lost_peer(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or any(part in str(error).lower() for part in LOST_PEER)


@dataclass(frozen=True)
class Share:
    """The batches of each update that one process computes: every ``num_processes``-th, from another one each time.

    Batches of short and of long crops alternate, so with a fixed place a process could get only one kind.
    """

    rank: int
    num_processes: int
    accumulate: int

    def __post_init__(self) -> None:
        if self.accumulate % self.num_processes:
            raise ConfigError(
                f"trainer.accumulate={self.accumulate}: it counts the batches of an update over all processes, so with "
                f"{self.num_processes} of them it must be a multiple of {self.num_processes}"
            )

    @classmethod
    def here(cls, accumulate: int) -> "Share":
        """That of this process.

        Raises:
            ConfigError: the processes cannot have equally many batches.
        """
        return cls(processes.rank(), processes.count(), accumulate)

    def positions(self, update: int) -> list[int]:
        """The batches of an update, by their places in it."""
        return [place for place in range(self.accumulate) if (place + update) % self.num_processes == self.rank]

    def numbers_from(self, number: int) -> Iterator[int]:
        """The numbers of the batches from this one on, without end."""
        for update in itertools.count(number // self.accumulate):
            of_update = (update * self.accumulate + place for place in self.positions(update))
            yield from (own for own in of_update if own >= number)


@dataclass(frozen=True)
class World:
    """What the processes of a run agree on; all of them ask the same in the same order."""

    patient: dist.ProcessGroup | None = None

    @classmethod
    def here(cls) -> "World":
        """That of the processes that are joined."""
        return cls(dist.new_group(backend="gloo", timeout=PATIENCE) if processes.count() > 1 else None)

    def any(self, *claims: bool) -> list[bool]:
        """For each claim, whether it is true in any process."""
        if self.patient is None:
            return list(claims)
        flags = torch.tensor(claims, dtype=torch.uint8)
        dist.all_reduce(flags, dist.ReduceOp.MAX)
        return [bool(flag) for flag in flags]

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        return value if self.patient is None else processes.sum_of_all(value.clone()) / processes.count()

    def gather(self, value: T) -> list[T]:
        """The value of every process, in the order of their ranks."""
        if self.patient is None:
            return [value]
        values: list[Any] = [None] * processes.count()
        dist.all_gather_object(values, value, group=self.patient)
        return values

    def from_first(self, make: Callable[[], T]) -> T:
        """The result of a function that only the first process calls, while the others wait for it."""
        if self.patient is None:
            return make()
        values = [make() if processes.is_first() else None]
        dist.broadcast_object_list(values, src=0, group=self.patient)
        return values[0]  # type: ignore[return-value]
