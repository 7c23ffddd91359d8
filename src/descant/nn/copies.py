"""Copies of modules around the same tensors."""

import copy
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def with_same_tensors(module: M) -> M:
    """A new module, of new modules, around the same parameters and buffers. What is replaced in it stays as it is in
    the original; what is written into a tensor changes in both.
    """
    result = copy.copy(module)
    result._parameters, result._buffers = {**module._parameters}, {**module._buffers}
    result._modules = {name: child and with_same_tensors(child) for name, child in module._modules.items()}
    return result
