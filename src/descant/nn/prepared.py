"""Weights in the form in which they are multiplied, kept with their layer and shared by all that use it."""

from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

LayerT = TypeVar("LayerT", bound=nn.Module)
FormT = TypeVar("FormT")

Mark: TypeAlias = tuple[int, torch.dtype, int, float]


class Prepared(Generic[LayerT, FormT]):
    """What ``prepare`` makes of a layer's weights at first use, and again if they were changed since.

    Copies of the layer, and files of it, are without.
    """

    def __init__(self, layer: LayerT, prepare: Callable[[LayerT], FormT]) -> None:
        self._layer, self._prepare = layer, prepare
        self._latest: tuple[list[Mark], FormT] | None = None

    def get(self) -> FormT:
        """The prepared weights. Later changes of the layer do not change what was returned."""
        marks = marks_of(self._layer)
        if self._latest is None or self._latest[0] != marks:
            with torch.inference_mode(mode=False), torch.no_grad():
                self._latest = marks, self._prepare(self._layer)
        return self._latest[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_latest": None}


def marks_of(module: nn.Module) -> list[Mark]:
    """What changes when a weight of a module does: its place, its type, torch's count of changes, and the sum of two
    rows, since fused optimisers change all weights without being counted."""
    return [_mark(weight) for weight in module.parameters()]


def _mark(weight: Tensor) -> Mark:
    version = 0 if weight.is_inference() else weight._version
    return weight.data_ptr(), weight.dtype, version, float(weight.detach()[:2].double().sum())
