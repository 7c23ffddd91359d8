"""The device and the precision that a model runs with."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch

from descant.errors import InvalidRequest

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "int4")
DTYPE_NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}

WeightFormat: TypeAlias = Literal["bf16", "fp16", "int8", "int4"]
WEIGHT_FORMATS: tuple[WeightFormat, ...] = get_args(WeightFormat)
"""What the matrices of a language model can be rounded to."""


def select_device(device: str | torch.device) -> torch.device:
    """The device of that name; ``auto`` is a GPU if there is one.

    Raises:
        InvalidRequest: this machine has no such device; the message lists those that it has.
    """
    name = str(device)
    available = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda:0", "mps", "cpu") if kind in available).partition(":")[0])
    if name not in available and not (name == "cuda" and "cuda:0" in available):
        raise InvalidRequest(f"device={name!r}: this machine has {', '.join(available)}; use one of them or auto")
    return torch.device(name)


@dataclass(frozen=True)
class Precision:
    """How exactly a language model is held and calculates.

    Args:
        dtype: of its parameters.
        weight_format: what decoding rounds its matrices to; None leaves them as they are.
    """

    name: str
    dtype: torch.dtype
    weight_format: WeightFormat | None = None


def select_precision(precision: str | torch.dtype, device: torch.device) -> Precision:
    """The precision of that name; ``auto`` is float16 on CUDA and float32 elsewhere.

    A CPU calculates in float32 whatever the weights are rounded to: its time goes into reading them.

    Raises:
        InvalidRequest: there is no such precision, or the device has it not.
    """
    name = DTYPE_NAMES.get(precision, str(precision)) if isinstance(precision, torch.dtype) else precision
    if name == "auto":
        name = "fp16" if device.type == "cuda" else "fp32"
    if name not in PRECISIONS:
        raise InvalidRequest(f"precision={name!r}: allowed are auto, {', '.join(PRECISIONS)}")
    weight_format = next((known for known in WEIGHT_FORMATS if known == name), None)
    if device.type == "cpu":
        return Precision(name, torch.float32, weight_format)
    if name == "int8" and device.type == "cuda":
        return Precision(name, torch.float16, "int8")
    if name in ("int8", "int4"):
        raise InvalidRequest(f"precision={name!r}: not on {device.type}; use auto, fp16 or bf16")
    return Precision(name, next(dtype for dtype, known in DTYPE_NAMES.items() if known == name))
