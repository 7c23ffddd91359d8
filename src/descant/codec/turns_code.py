"""The initial phases of Griffin-Lim as one compiled function; ``phase.running_turns`` explains them."""

from collections.abc import Callable
from functools import cache

import torch
from jaxtyping import Float
from llvmlite import ir
from torch import Tensor

from descant.compiled.code import F32, I32, I64, LANES, POINTER, Code, Target, numbers
from descant.compiled.library import compiled_library

SMALLEST_MAGNITUDE, SMALLEST_CURVATURE = 1e-7, 1e-6
"""Below these no pitch can be found."""


def compiled_turns(
    magnitudes: Float[Tensor, "spectra bins"], turn: Float[Tensor, " bins"], hops_in_window: float, target: Target
) -> Float[Tensor, "spectra bins"]:
    """The phases in turns after those of the spectrum before the first; at least 32 bins, without gaps.

    Args:
        hops_in_window: the hop as a part of the window.
    """
    turns = torch.empty_like(magnitudes)
    num_bins = len(turn)
    memory = torch.empty(4, num_bins + 2)
    share = int(torch.tensor(hops_in_window).view(torch.int32))
    values = (magnitudes, turn, turns, memory)
    _turns_function(target)(*[value.data_ptr() for value in values], len(magnitudes), num_bins, share)
    return turns


@cache
def _turns_function(target: Target) -> Callable[..., None]:
    return compiled_library(target, add_turns).function("turns", 7)


def add_turns(module: ir.Module) -> None:
    """``turns(magnitudes, turn, result, memory, spectra, bins, hop in windows)``."""
    code = Code(module, "turns", [POINTER] * 4 + [I64] * 3)
    magnitudes, turn, result, memory, num_spectra, num_bins, share = code.function.args
    row_bytes = code.mul(code.add(num_bins, I64(2)), I64(4))
    # The first two with a place on either side for the neighbours that the ends lack.
    bounded, logs, advances, peaks = (code.gep(memory, [code.mul(I64(index), row_bytes)]) for index in range(4))
    before = code.variable(turn)
    with code.for_range(I64(0), num_spectra) as spectrum:
        row = code.mul(spectrum, num_bins)
        of_row = code.bitcast(code.address(magnitudes, row, F32), POINTER)
        to_row = code.bitcast(code.address(result, row, F32), POINTER)
        _read_logs(code, of_row, bounded, logs, num_bins)
        _find_peaks(code, bounded, logs, advances, peaks, num_bins, code.bitcast(code.trunc(share, I32), F32))
        _find_last(code, peaks, num_bins)
        _turn(code, code.load(before), advances, peaks, to_row, num_bins)
        code.store(to_row, before)
    code.ret_void()


def _in_vectors(code: Code, num_bins: ir.Value, visit: Callable[[ir.Value], None]) -> None:
    """Visits all bins, 32 at once, and the last 32 again."""
    with code.for_range(I64(0), code.sub(num_bins, I64(LANES - 1)), LANES) as at:
        visit(at)
    visit(code.sub(num_bins, I64(LANES)))


def _read_logs(code: Code, magnitudes: ir.Value, bounded: ir.Value, logs: ir.Value, num_bins: ir.Value) -> None:
    def visit(at: ir.Value) -> None:
        values = code.read(magnitudes, at, F32, LANES)
        smallest = numbers(values.type, SMALLEST_MAGNITUDE)
        values = code.select(code.fcmp_ordered(">", values, smallest), values, smallest)
        code.write(values, bounded, code.add(at, I64(1)))
        code.write(code.log(values), logs, code.add(at, I64(1)))

    _in_vectors(code, num_bins, visit)
    for row in (bounded, logs):
        code.write(code.read(row, I64(1)), row, I64(0))
        code.write(code.read(row, num_bins), row, code.add(num_bins, I64(1)))


def _find_peaks(
    code: Code,
    bounded: ir.Value,
    logs: ir.Value,
    advances: ir.Value,
    peaks: ir.Value,
    num_bins: ir.Value,
    share: ir.Value,
) -> None:
    """How far the phase of each bin would turn in a hop if it were a peak, and its number if it is one, or -1."""

    def visit(at: ir.Value) -> None:
        below, here, above = (code.read(logs, code.add(at, I64(place)), F32, LANES) for place in range(3))
        type, whole = here.type, ir.VectorType(I32, LANES)
        curvature = code.fsub(code.fsub(code.fmul(here, numbers(type, 2.0)), below), above)
        smallest = numbers(type, SMALLEST_CURVATURE)
        curvature = code.select(code.fcmp_ordered(">", curvature, smallest), curvature, smallest)
        offset = code.fdiv(code.fsub(above, below), code.fmul(curvature, numbers(type, 2.0)))
        for sign, limit in (("<", 0.5), (">", -0.5)):
            offset = code.select(code.fcmp_ordered(sign, offset, numbers(type, limit)), offset, numbers(type, limit))
        places = ir.Constant(whole, [*range(LANES)])
        bins = code.add(code.splat(code.trunc(at, I32)), places)
        # Whole turns of the bin's own pitch are left out before the offset is added: they would cost precision.
        of_bin = _fraction(code, code.fmul(code.sitofp(bins, type), code.splat(share)))
        code.write(code.fma(offset, code.splat(share), of_bin), advances, at)
        low, middle, high = (code.read(bounded, code.add(at, I64(place)), F32, LANES) for place in range(3))
        is_peak = code.and_(code.fcmp_ordered(">=", middle, low), code.fcmp_ordered(">", middle, high))
        code.write(code.select(is_peak, bins, numbers(whole, -1)), peaks, at)

    _in_vectors(code, num_bins, visit)


def _find_last(code: Code, peaks: ir.Value, num_bins: ir.Value) -> None:
    """Puts in the place of each bin the nearest peak at or below it, or a number that is far away."""
    last = code.variable(code.trunc(code.sub(I64(0), num_bins), I32))
    code.store(code.trunc(code.sub(I64(0), num_bins), I32), last)
    with code.for_range(I64(0), num_bins) as bin:
        peak = code.read(peaks, bin, I32)
        code.store(code.select(code.icmp_signed(">=", peak, I32(0)), peak, code.load(last)), last)
        code.write(code.load(last), peaks, bin)


def _turn(
    code: Code, before: ir.Value, advances: ir.Value, peaks: ir.Value, result: ir.Value, num_bins: ir.Value
) -> None:
    """The phases of a spectrum, from those of the one before."""
    end = code.trunc(num_bins, I32)
    far = code.mul(end, I32(2))
    following = code.variable(far)
    code.store(far, following)
    with code.for_range(I64(0), num_bins) as index:
        bin = code.sub(code.sub(num_bins, I64(1)), index)
        here, last = code.trunc(bin, I32), code.read(peaks, bin, I32)
        following_peak = code.select(code.icmp_signed("==", last, here), here, code.load(following))
        code.store(following_peak, following)
        is_last_nearer = code.icmp_signed("<=", code.sub(here, last), code.sub(following_peak, here))
        nearest = code.select(is_last_nearer, last, following_peak)
        is_there = code.and_(code.icmp_signed(">=", nearest, I32(0)), code.icmp_signed("<", nearest, end))
        # A spectrum without a peak is silent or monotonic: each of its bins keeps its own pitch.
        nearest = code.select(is_there, nearest, here)
        place = code.sext(nearest, I64)
        parity = code.sitofp(code.and_(code.sub(here, nearest), I32(1)), F32)
        advance = code.fma(parity, F32(0.5), code.read(advances, place))
        code.write(_fraction(code, code.fadd(code.read(before, place), advance)), result, bin)


def _fraction(code: Code, number: ir.Value) -> ir.Value:
    return code.fsub(number, code.call_llvm("floor", number))
