"""The passes over spectra and windows between the Fourier transforms of Griffin-Lim, each in one reading of memory.

Spectra are [spectra, bins] here and windows [windows, samples], without gaps.
"""

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Complex, Float
from llvmlite import ir
from torch import Tensor

from descant.compiled.code import F32, I32, I64, LANES, POINTER, Code, Target, is_supported, numbers
from descant.compiled.library import compiled_library

MOMENTUM = 0.99
"""Of the fast variant of Griffin-Lim (WASPAA 2013, doi 10.1109/WASPAA.2013.6701851); 0 is the original."""

ROOT_START = 0x5F3759DF
"""Half of a float's bits, subtracted from this, are a float near one over the first one's square root (3 % off)."""


def aim(
    found: Complex[Tensor, "spectra bins"],
    before: Complex[Tensor, "spectra bins"],
    targets: Float[Tensor, "spectra bins"],
    result: Complex[Tensor, "spectra bins"],
) -> None:
    """Writes the target magnitudes in the directions of ``found``, plus a share of its change since ``before``."""
    if _is_compiled(targets):
        values = (found, before, targets, result)
        _functions()["aim"](*[value.data_ptr() for value in values], targets.numel())
        return
    directions = torch.sub(found, before, alpha=MOMENTUM / (1 + MOMENTUM)).sgn_()
    torch.view_as_real(result).copy_(torch.view_as_real(directions).mul_(targets[..., None]))


def add_windows(
    windows: Float[Tensor, "windows samples"],
    window: Float[Tensor, " samples"],
    sums: Float[Tensor, "hops hop"],
) -> None:
    """Adds windows, weighted, to the sums; one begins at each hop. Earlier ones first, as a stream has to add them."""
    if _is_compiled(windows):
        values = (windows, window, sums)
        _functions()["add_windows"](*[value.data_ptr() for value in values], *windows.shape, sums.shape[-1])
        return
    hop_samples = sums.shape[-1]
    offsets = range(0, windows.shape[-1], hop_samples)
    for index, offset in reversed([*enumerate(offsets)]):
        part = windows[:, offset : offset + hop_samples] * window[offset : offset + hop_samples]
        sums[index : index + len(windows), : part.shape[-1]].add_(part)


def cut_windows(
    samples: Float[Tensor, " N"],
    window: Float[Tensor, " samples"],
    hop_samples: int,
    result: Float[Tensor, "windows samples"],
) -> None:
    """Writes windows, weighted, one from each hop of the samples on."""
    if _is_compiled(samples):
        values = (samples, window, result)
        _functions()["cut_windows"](*[value.data_ptr() for value in values], *result.shape, hop_samples)
        return
    torch.mul(samples.unfold(0, len(window), hop_samples), window, out=result)


def _is_compiled(values: Tensor) -> bool:
    return values.device.type == "cpu" and values.dtype == torch.float32 and is_supported()


@cache
def _functions() -> dict[str, Callable[..., None]]:
    library = compiled_library(Target.host(), _add_functions)
    return {
        "aim": library.function("aim", 5),
        "add_windows": library.function("add_windows", 6),
        "cut_windows": library.function("cut_windows", 6),
    }


def _add_functions(module: ir.Module) -> None:
    _add_aim(module)
    _add_windows(module, "add_windows")
    _add_windows(module, "cut_windows")


def _add_aim(module: ir.Module) -> None:
    """``aim(found, before, targets, result, count)``, where ``count`` complex numbers are pairs of floats."""
    code = Code(module, "aim", [POINTER, POINTER, POINTER, POINTER, I64])
    found, before, targets, result, count = code.function.args
    whole = code.sub(count, code.srem(count, I64(LANES)))
    real, imaginary = ([*range(part, 2 * LANES, 2)] for part in (0, 1))
    paired = [place for lane in range(LANES) for place in (lane, LANES + lane)]
    with code.for_range(I64(0), whole, LANES) as at:
        pairs = code.mul(at, I64(2))
        accelerated = _accelerate(code, *(code.read(part, pairs, F32, 2 * LANES) for part in (found, before)))
        parts = [_take(code, accelerated, accelerated, places) for places in (real, imaginary)]
        aimed = _aim(code, parts[0], parts[1], code.read(targets, at, F32, LANES))
        code.write(_take(code, *aimed, paired), result, pairs)
    with code.for_range(whole, count) as at:
        places = [code.add(code.mul(at, I64(2)), I64(part)) for part in (0, 1)]
        parts = [_accelerate(code, code.read(found, place), code.read(before, place)) for place in places]
        for value, place in zip(_aim(code, parts[0], parts[1], code.read(targets, at)), places, strict=True):
            code.write(value, result, place)
    code.ret_void()


def _take(code: Code, one: ir.Value, other: ir.Value, places: list[int]) -> ir.Value:
    """Some elements of two vectors, those of the other counted from the end of the one."""
    return code.shuffle_vector(one, other, ir.Constant(ir.VectorType(I32, len(places)), places))


def _accelerate(code: Code, found: ir.Value, before: ir.Value) -> ir.Value:
    return code.fma(before, numbers(found.type, -MOMENTUM / (1 + MOMENTUM)), found)


def _aim(code: Code, real: ir.Value, imaginary: ir.Value, target: ir.Value) -> tuple[ir.Value, ir.Value]:
    """A complex number of magnitude ``target`` in the direction of another; of 0 it is 0."""
    square = code.fadd(code.fmul(real, real), code.fmul(imaginary, imaginary))
    factor = code.fmul(target, _inverse_root(code, square))
    return code.fmul(real, factor), code.fmul(imaginary, factor)


def _inverse_root(code: Code, square: ir.Value) -> ir.Value:
    """1 / sqrt(square) within three units in the last place; large but finite for 0.

    Three of Newton's steps, a third of the time of a root and a division.
    """
    vector = isinstance(square.type, ir.VectorType)
    whole = ir.VectorType(I32, square.type.count) if vector else I32
    half_bits = code.lshr(code.bitcast(square, whole), numbers(whole, 1))
    root = code.bitcast(code.sub(numbers(whole, ROOT_START), half_bits), square.type)
    minus_half = code.fmul(square, numbers(square.type, -0.5))
    for _ in range(3):
        root = code.fmul(root, code.fma(code.fmul(minus_half, root), root, numbers(square.type, 1.5)))
    return root


def _add_windows(module: ir.Module, name: str) -> None:
    """``add_windows(windows, window, samples, number, length, hop)``, or the way back for ``cut_windows``."""
    code = Code(module, name, [POINTER, POINTER, POINTER, I64, I64, I64])
    source, window, result, number, length, hop = code.function.args
    whole = code.sub(length, code.srem(length, I64(LANES)))
    with code.for_range(I64(0), number) as index:
        in_windows, in_wave = code.mul(index, length), code.mul(index, hop)
        start, end = (in_windows, in_wave) if name == "add_windows" else (in_wave, in_windows)
        for first, last, lanes in ((I64(0), whole, LANES), (whole, length, 0)):
            with code.for_range(first, last, lanes or 1) as at:
                value, weight = code.read(source, code.add(start, at), F32, lanes), code.read(window, at, F32, lanes)
                place = code.add(end, at)
                if name == "add_windows":
                    weighted = code.fma(value, weight, code.read(result, place, F32, lanes))
                else:
                    weighted = code.fmul(value, weight)
                code.write(weighted, result, place)
    code.ret_void()
