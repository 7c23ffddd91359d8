"""What each process holds of a model: all of it, or its part of every weight (PyTorch's FSDP2, ``fully_shard``).

Split weights are DTensors, and so are their gradients, averages and optimiser state. Each unit of a model is gathered
from all processes for its own forward and backward pass and then given up again. On a mesh of two dimensions weights
are split inside a machine, where the network is fast, and repeated on every machine.
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, TypeAlias

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from descant import processes
from descant.errors import ConfigError

Mesh: TypeAlias = Literal["replicate", "shard", "shard-in-node"]
BUCKET_ELEMENTS = 2**24
"""Gradients are exchanged in buckets of this size, 64 MiB: one message for each weight would be slow."""


def spread(trained: nn.Module, units: Sequence[nn.Module], mesh: Mesh, device: torch.device, timeout_s: float) -> None:
    """Gives all processes the weights of the first one, and splits those of the units, in place.

    Args:
        units: modules to be gathered one at a time, the outermost last.
        timeout_s: how long a process waits for the others.

    Raises:
        ConfigError: the weights are to be split, and there are no units.
    """
    if processes.count() == 1:
        return
    for tensor in trained.state_dict().values():
        processes.from_first(tensor)
    if mesh == "replicate":
        return
    if not units:
        raise ConfigError(f"trainer.mesh={mesh!r}: only language models are split; use replicate")
    devices = _device_mesh(mesh, device, timedelta(seconds=timeout_s))
    for unit in units:
        fully_shard(unit, mesh=devices)


def _device_mesh(mesh: Mesh, device: torch.device, timeout: timedelta) -> DeviceMesh:
    """The mesh of all processes, of groups that wait no longer than the run allows: PyTorch's own wait half an hour."""
    if mesh == "shard":
        everyone = dist.group.WORLD
        assert everyone is not None, "processes that are counted have a group"
        return DeviceMesh.from_group(everyone, device.type, mesh_dim_names=("shard",))
    ranks = torch.arange(processes.count()).view(-1, int(os.environ["LOCAL_WORLD_SIZE"]))
    groups = [_own_group(across.tolist(), timeout) for across in (ranks.T, ranks)]
    return DeviceMesh.from_group(groups, device.type, ranks, mesh_dim_names=("replicate", "shard"))


def _own_group(of_all: Sequence[list[int]], timeout: timedelta) -> dist.ProcessGroup:
    """The group of processes that this one is in; each process has to make all of them."""
    groups: dict[bool, dist.ProcessGroup] = {
        processes.rank() in ranks: dist.new_group(ranks, timeout=timeout) for ranks in of_all
    }
    return groups[True]


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, reference: Tensor) -> Tensor:
    """A whole tensor, which every process has, split as the reference is."""
    if not isinstance(reference, DTensor):
        return tensor
    on_device = tensor.to(reference.to_local().device)
    return distribute_tensor(on_device, reference.device_mesh, reference.placements, src_data_rank=None)


def whole(tensor: Tensor) -> Tensor:
    """The tensor on the CPU, gathered where it is split. All processes gather; only the first keeps the result."""
    if isinstance(tensor, DTensor):
        gathered = tensor.full_tensor()
        return gathered.cpu() if processes.is_first() else torch.empty(0)
    return tensor.detach().cpu()


@dataclass(frozen=True)
class OwnRows:
    """The rows of a split tensor that this process saves, from number ``first`` of ``num_rows`` on."""

    tensor: Tensor
    first: int
    num_rows: int


def own_rows(tensor: DTensor) -> OwnRows | None:
    """What this process saves of a split tensor; None if it has no rows, or another machine's copy is saved."""
    place = tensor.device_mesh.get_coordinate()
    assert place is not None, "a process outside of the mesh has no tensors"
    number, num_parts = 0, 1
    for dimension, placement in enumerate(tensor.placements):
        if placement.is_replicate():
            if place[dimension] != 0:
                return None
        else:
            assert placement.is_shard(0), "FSDP2 splits rows, and over one dimension of the mesh"
            number, num_parts = place[dimension], tensor.device_mesh.size(dimension)
    own, num_rows = tensor.to_local(), tensor.shape[0]
    # As torch.chunk divides them.
    return OwnRows(own, number * math.ceil(num_rows / num_parts), num_rows) if len(own) else None


@contextmanager
def whole_weights(module: nn.Module) -> Iterator[None]:
    """Within the block the first process' module holds its weights whole, on the CPU; it cannot be called there."""
    split = [
        (part, name, parameter)
        for part in module.modules()
        for name, parameter in part.named_parameters(recurse=False)
        if isinstance(parameter, DTensor)
    ]
    for part, name, parameter in split:
        gathered = whole(parameter)
        if processes.is_first():
            part.register_parameter(name, nn.Parameter(gathered, requires_grad=parameter.requires_grad))
    try:
        yield
    finally:
        for part, name, parameter in split:
            part.register_parameter(name, parameter)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replaces the gradients of weights that are not split by their means over all processes, in place.

    A weight has a gradient if it has one in any process. Those of split weights are averaged in the backward pass.
    """
    if processes.count() == 1:
        return
    repeated = [parameter for parameter in parameters if not isinstance(parameter, DTensor)]
    has_gradient = torch.tensor([parameter.grad is not None for parameter in repeated], dtype=torch.uint8)
    dist.all_reduce(has_gradient, dist.ReduceOp.MAX)
    gradients = []
    for parameter, is_used in zip(repeated, has_gradient.tolist(), strict=True):
        if is_used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            gradients.append(parameter.grad)
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        processes.sum_of_all(flat).div_(processes.count())
        for gradient, mean in zip(bucket, flat.split([gradient.numel() for gradient in bucket]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def _buckets(gradients: Sequence[Tensor]) -> list[list[Tensor]]:
    """The gradients in order, in lists of about ``BUCKET_ELEMENTS``."""
    buckets: list[list[Tensor]] = []
    room = 0
    for gradient in gradients:
        if gradient.numel() > room:
            buckets.append([])
            room = BUCKET_ELEMENTS
        buckets[-1].append(gradient)
        room -= gradient.numel()
    return buckets


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The norm of all gradients together, the same in every process."""
    split, repeated = _by_kind(parameter.grad for parameter in parameters if parameter.grad is not None)
    if not split:
        return get_total_norm(repeated)
    norm = get_total_norm(split)
    assert isinstance(norm, DTensor), "a norm of DTensors"
    return torch.hypot(norm.full_tensor(), get_total_norm(repeated)) if repeated else norm.full_tensor()


def clip_gradients(parameters: Iterable[nn.Parameter], max_norm: float, norm: Tensor) -> None:
    """Scales gradients, whose norm this is, down to the largest norm allowed."""
    for kind in _by_kind(parameters):
        clip_grads_with_norm_(kind, max_norm, norm)


def _by_kind(tensors: Iterable[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Split tensors and others: PyTorch's operations on lists take one kind."""
    both = list(tensors)
    return [one for one in both if isinstance(one, DTensor)], [one for one in both if not isinstance(one, DTensor)]


def split_state(tensors: Mapping[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Whole tensors of a module's state, split as the module's own are."""
    own = module.state_dict()
    return {name: like(tensor, own[name]) if name in own else tensor for name, tensor in tensors.items()}
