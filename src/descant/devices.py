"""The device and the precision that a model runs with."""

import torch

from descant.errors import InvalidRequest

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


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


def select_precision(precision: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype of that name; ``auto`` is float16 on CUDA and float32 elsewhere.

    Raises:
        InvalidRequest: there is no such precision.
    """
    if isinstance(precision, torch.dtype) and precision in PRECISIONS.values():
        return precision
    if precision == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if precision not in PRECISIONS:
        raise InvalidRequest(f"precision={precision!r}: allowed are auto, {', '.join(PRECISIONS)}")
    return PRECISIONS[precision]
