"""Modules computed in double precision, so that what they give is the same on every processor.

Vector units of different widths, and different libraries, add in different orders. In float32 the last bits differ, and
music that is drawn from such conditions is another music after some steps. In float64 the results differ by less than a
billionth of the distance of two float32 numbers, so they are rounded to the same one, except by a chance of about one
in ten thousand for all conditions of a request.
"""

from collections.abc import Callable, Collection
from typing import Any

from torch import nn

from descant.nn.copies import with_same_tensors


def in_float64(module: nn.Module, keep: Collection[str] = ()) -> Callable[..., Any]:
    """The module as a function whose weights are converted for each call and forgotten after it.

    The module itself stays as it is meanwhile, so other threads may use it.

    Args:
        keep: names of weights, or of parts with all their weights, that stay as they are, such as large tables of which
            few rows are read.
    """

    def call(*args: Any) -> Any:
        exact = with_same_tensors(module)
        for path, part in exact.named_modules():
            if path in keep or any(path.startswith(f"{name}.") for name in keep):
                continue
            for tensors in (part._parameters, part._buffers):
                for name, tensor in tensors.items():
                    if tensor is not None and tensor.is_floating_point() and f"{path}.{name}".strip(".") not in keep:
                        tensors[name] = tensor.detach().double()
        return exact(*args)

    return call
