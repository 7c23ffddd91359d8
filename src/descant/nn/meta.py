"""Models without memory: the shapes of a model are known before its weights are read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


@contextmanager
def on_meta_device() -> Iterator[None]:
    """Modules that are made inside have shapes and no memory, so that absurd sizes in a config cost nothing.

    Nothing is calculated: PyTorch would import its compiler for the first calculation on the meta device, which takes
    longer than loading a small model.
    """
    with torch.device("meta"), _WithoutCalculation():
        yield


@contextmanager
def without_random_values() -> Iterator[None]:
    """Modules that are made inside have memory, but no first weights: for those whose weights are read from a file."""
    with _WithoutRandomValues():
        yield


def shape_of(tensor: Tensor) -> Tensor:
    """A tensor of the same shape and type without memory. PyTorch imports its compiler for ``empty_like``."""
    return torch.empty(tensor.shape, dtype=tensor.dtype, device="meta")


class _WithoutRandomValues(TorchFunctionMode):
    """Random numbers are not drawn."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        keywords = kwargs or {}
        if getattr(function, "__name__", "") in ("kaiming_uniform_", "uniform_", "normal_"):
            return _changed(args, keywords)
        return function(*args, **keywords)


class _WithoutCalculation(TorchFunctionMode):
    """Operations that change a tensor without memory in place, such as initialisations, do nothing, and norms have only
    their shape."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        keywords = kwargs or {}
        name = getattr(function, "__name__", "")
        changed = _changed(args, keywords)
        is_in_place = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
        if is_in_place and isinstance(changed, Tensor) and changed.is_meta:
            return changed
        if function is torch.norm_except_dim and isinstance(changed, Tensor) and changed.is_meta:
            return _norms_without_memory(*args, **keywords)
        return function(*args, **keywords)


def _changed(args: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """What a function changes in place; torch.nn.init passes it by name."""
    return args[0] if args else keywords.get("tensor")


def _norms_without_memory(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:  # noqa: ARG001
    """The shape of what weight normalisation computes of each layer's weight."""
    sizes = [1] * v.ndim
    sizes[dim] = v.shape[dim]
    return torch.empty(sizes, dtype=v.dtype, device="meta")
