"""Arithmetic of vectors in compiled code, the same bits in each lane and on any processor."""

from llvmlite import ir

from descant.codec.fourier_code import Complex
from descant.compiled.code import I32, Code, numbers

ROOT_START = 0x5F3759DF
"""Half of a float's bits, subtracted from this, are a float near one over the first one's square root (3 % off)."""

SINE = (6.283185307179586, -41.341702240399755, 81.60524927607504, -76.70585975306136, 42.058693944897634)
COSINE = (1.0, -19.739208802178716, 64.93939402266828, -85.45681720669371, 60.24464137187664, -26.426256783374388)
"""Taylor series of sine and cosine in turns; up to an eighth of a turn they are 2e-9 off."""


def inverse_root(code: Code, square: ir.Value) -> ir.Value:
    """1 / sqrt(square) within three units in the last place; large but finite for 0.

    Three of Newton's steps, a third of the time of a root and a division.
    """
    whole = ir.VectorType(I32, square.type.count)
    half_bits = code.lshr(code.bitcast(square, whole), numbers(whole, 1))
    root = code.bitcast(code.sub(numbers(whole, ROOT_START), half_bits), square.type)
    minus_half = code.fmul(square, numbers(square.type, -0.5))
    for _ in range(3):
        root = code.fmul(root, code.fma(code.fmul(minus_half, root), root, numbers(square.type, 1.5)))
    return root


def cosine_and_sine(code: Code, turns: ir.Value) -> Complex:
    """Of angles from 0 to 1, in turns."""
    type, whole = turns.type, ir.VectorType(I32, turns.type.count)
    quarters = code.call_llvm("rint", code.fmul(turns, numbers(type, 4.0)))
    rest = code.fma(quarters, numbers(type, -0.25), turns)
    square = code.fmul(rest, rest)
    cosine, sine = (_polynomial(code, square, series) for series in (COSINE, SINE))
    sine = code.fmul(sine, rest)
    quarter = code.fptosi(quarters, whole)
    is_odd = code.trunc(quarter, ir.VectorType(ir.IntType(1), type.count))
    parts = []
    for value, sign_of in (
        (code.select(is_odd, sine, cosine), code.add(quarter, numbers(whole, 1))),
        (code.select(is_odd, cosine, sine), quarter),
    ):
        sign = code.shl(code.and_(sign_of, numbers(whole, 2)), numbers(whole, 30))
        parts.append(code.bitcast(code.xor(code.bitcast(value, whole), sign), type))
    return parts[0], parts[1]


def _polynomial(code: Code, of: ir.Value, series: tuple[float, ...]) -> ir.Value:
    result = numbers(of.type, series[-1])
    for coefficient in series[-2::-1]:
        result = code.fma(result, of, numbers(of.type, coefficient))
    return result


def lanes_below(code: Code, limit: ir.Value, lanes: int) -> ir.Value:
    """Which places of a vector are below a limit."""
    places = ir.Constant(ir.VectorType(I32, lanes), [*range(lanes)])
    return code.icmp_signed("<", places, code.splat(code.trunc(limit, I32), lanes))
