"""Conversion of tensors and arrays to a clip's samples, rate and codes."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.audio.files import MAX_RATE_HZ, MIN_RATE_HZ
from descant.audio.numbers import checked_number
from descant.errors import InvalidRequest


@runtime_checkable
class SupportsArray(Protocol):
    """Anything that NumPy can convert to an array: a column of pandas, an array of JAX."""

    def __array__(self) -> np.ndarray: ...


Samples: TypeAlias = Tensor | np.ndarray | SupportsArray | Sequence[float] | Sequence[Sequence[float]]
"""[channels, samples], or one channel alone. Floats have 1.0 as full scale; 8, 16 and 32 bit integers are PCM."""

LIKELY_CHANNELS = 32
"""More channels than this, and more channels than samples, mean that the axes are swapped."""

PCM = {
    torch.int8: (0, 2**7),
    torch.uint8: (2**7, 2**7),
    torch.int16: (0, 2**15),
    torch.int32: (0, 2**31),
}
"""By type: the value of silence, and the distance of full scale from it, as in libsndfile."""
ALLOWED = "floats with 1.0 as full scale, or PCM in int16, int32, int8 or uint8"


def as_samples(given: Any) -> Float[Tensor, "C N"]:
    """Float32 samples on the device of the input, without a gradient.

    A float32 tensor keeps its memory; everything else is copied.

    Raises:
        InvalidRequest: not numbers, numbers of a type whose full scale is unknown, NaN or infinite values, or another
            shape than [channels, samples].
    """
    tensor = given.detach() if isinstance(given, Tensor) else _from_array(given)
    if tensor.is_meta or tensor.layout != torch.strided:
        raise InvalidRequest("samples: a meta or sparse tensor has no values, or not all of them; give an ordinary one")
    samples = _as_float(tensor)
    samples = samples[None] if samples.ndim == 1 else samples
    _check_shape(tuple(samples.shape))
    if not torch.isfinite(samples).all():
        raise InvalidRequest("samples hold NaN or infinite values")
    return samples


def as_rate(given: Any, name: str = "sample_rate_hz") -> int:
    """A sample rate in hertz; 16000.0 is one too.

    Raises:
        InvalidRequest: not a whole number, or outside the allowed range.
    """
    expected = "a whole number of hertz, for example 44100"
    rate = checked_number(given, name, expected)
    if rate != int(rate):
        raise InvalidRequest(f"{name}={given!r:.60}: expected {expected}")
    if not MIN_RATE_HZ <= rate <= MAX_RATE_HZ:
        raise InvalidRequest(f"{name}={rate:g}: allowed are {MIN_RATE_HZ} to {MAX_RATE_HZ}")
    return int(rate)


def as_codes(given: Any) -> Int[Tensor, "K T"]:
    """Codes as a tensor; of an array a copy.

    Raises:
        InvalidRequest: they are not whole numbers in rows.
    """
    codes = given
    if isinstance(given, np.ndarray) and given.dtype.kind in "iu":
        codes = torch.from_numpy(given.astype(np.int64))
    if not isinstance(codes, Tensor) or codes.ndim != 2 or codes.is_floating_point() or codes.dtype == torch.bool:
        raise InvalidRequest(f"codes={given!r:.60}: expected a tensor [codebooks, frames] of whole numbers, or None")
    return codes if codes.dtype.is_signed else codes.long()


def _from_array(given: Any) -> Tensor:
    """A writable copy in native byte order with positive strides."""
    if isinstance(given, str | bytes) or given is None:
        raise InvalidRequest(f"samples={given!r:.60}: expected {ALLOWED}; Clip.read(...) reads a file")
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        raise InvalidRequest("samples: some are masked; fill them first, for example with samples.filled(0)")
    try:
        array = np.asarray(given)
        array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
        # Extended precision has no counterpart in torch.
        return torch.from_numpy(array.astype(np.float64) if array.dtype == np.longdouble else array)
    except (TypeError, ValueError) as error:
        kind = type(given).__name__
        found = "rows of different lengths" if isinstance(given, Sequence) else f"a {kind}"
        dtype = getattr(given, "dtype", None)
        found = found if dtype is None else f"{kind} of {dtype}"
        raise InvalidRequest(f"samples are {found}: expected {ALLOWED}") from error


def _as_float(tensor: Tensor) -> Tensor:
    if tensor.is_floating_point():
        return tensor.to(torch.float32)
    if tensor.dtype in PCM:
        silence, full_scale = PCM[tensor.dtype]
        return (tensor.to(torch.float32) - silence) / full_scale
    name = str(tensor.dtype).removeprefix("torch.")
    raise InvalidRequest(f"samples are {name}, whose full scale is not known: expected {ALLOWED}")


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or 0 in shape:
        raise InvalidRequest(
            f"samples of shape {shape}: a clip needs [channels, samples], at least one of each, or one channel alone"
        )
    if shape[0] > LIKELY_CHANNELS and shape[0] > shape[1]:
        raise InvalidRequest(
            f"samples of shape {shape} look like [samples, channels], as soundfile gives them; "
            "a clip needs [channels, samples]: pass samples.T"
        )
