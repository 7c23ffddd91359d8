"""The device and the precision that a model runs with."""

import torch

from descant.errors import InvalidRequest

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def select_device(device: str | torch.device) -> torch.device:
    """The device of that name; ``auto`` is a GPU if there is one.

    Raises:
        InvalidRequest: there is no such device, or this machine has none.
    """
    name = str(device)
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if available[kind]))
    kind, colon, number = name.partition(":")
    if kind not in available or (colon and not number.isdecimal()):
        raise InvalidRequest(f"device={name!r}: allowed are auto, {', '.join(available)}, or cuda:0 and so on")
    if not available[kind] or (kind == "cuda" and int(number or 0) >= torch.cuda.device_count()):
        raise InvalidRequest(f"device={name!r}: this machine or this torch has none; use auto or cpu")
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
