"""Random numbers that depend on a seed and a place alone, with the same bits on every processor.

Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) encrypts a counter, so no number needs the
one before, and 32 counters are encrypted at once.
"""

from functools import cache

import torch
from jaxtyping import Float
from llvmlite import ir
from torch import Tensor

from descant.compiled.code import F32, I32, I64, LANES, POINTER, Code, Target, numbers
from descant.compiled.library import Library, compiled_library
from descant.generation.runtimes.native.packing import address_of

WORDS = 4
"""32-bit numbers that one counter gives."""

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)

CHUNK = WORDS * LANES
"""Numbers that are drawn at once."""

MANTISSA_BITS = 23
"""Bits of a uniform number: with a half added float32 still holds it, so it is neither 0 nor 1."""


def log_exponential(seed: int, block: int, count: int) -> Float[Tensor, " count"]:
    """Logarithms of independent draws of Exp(1).

    Args:
        seed: below 2**64.
        block: below 2**32. Blocks of one seed are independent of each other; the numbers of one begin alike, whatever
            their count.
    """
    num_chunks = -(-count // CHUNK)
    numbers = torch.empty(num_chunks * CHUNK)
    _noise_library(Target.host()).function("noise", 4)(address_of(numbers), seed, block, num_chunks)
    return numbers[:count]


@cache
def _noise_library(target: Target) -> Library:
    return compiled_library(target, add_noise)


def add_noise(module: ir.Module) -> None:
    """``noise(where, seed, block, number of chunks)``. The counters of chunk c are 32 c to 32 c + 31, and the block.
    The first numbers of all of them come first, then the second ones, and so on."""
    code = Code(module, "noise", [POINTER, I64, I64, I64])
    where, seed, block, num_chunks = code.function.args
    vector = ir.VectorType(I32, LANES)
    key = [code.trunc(seed, I32), code.trunc(code.lshr(seed, I64(32)), I32)]
    lanes = ir.Constant(vector, [*range(LANES)])
    with code.for_range(I64(0), num_chunks) as chunk:
        first = code.splat(code.trunc(code.mul(chunk, I64(LANES)), I32))
        zeros = numbers(vector, 0)
        counter = [code.add(first, lanes), code.splat(code.trunc(block, I32)), zeros, zeros]
        for index, word in enumerate(philox(code, counter, key)):
            at = code.add(code.mul(chunk, I64(CHUNK)), I64(index * LANES))
            code.write(_log_exponential(code, word), where, at)
    code.ret_void()


def philox(code: Code, counter: list[ir.Value], key: list[ir.Value]) -> list[ir.Value]:
    """Philox4x32-10 of vectors of counters, four words each."""
    type = counter[0].type
    for _ in range(ROUNDS):
        high, low = zip(
            *(_product(code, counter[2 * index], multiplier) for index, multiplier in enumerate(MULTIPLIERS)),
            strict=True,
        )
        keys = [code.splat(word, type.count) for word in key]
        counter = [
            *(code.xor(code.xor(high[1], counter[1]), keys[0]), low[1]),
            *(code.xor(code.xor(high[0], counter[3]), keys[1]), low[0]),
        ]
        key = [code.add(word, I32(step)) for word, step in zip(key, KEY_STEPS, strict=True)]
    return counter


def _product(code: Code, factor: ir.Value, multiplier: int) -> tuple[ir.Value, ir.Value]:
    """The high and the low halves of products of 64 bits. Even and odd places are multiplied apart, where they lie: a
    processor multiplies the low halves of its 64-bit places, so nothing is moved."""
    wide = ir.VectorType(I64, factor.type.count // 2)
    factors, low_half = code.bitcast(factor, wide), numbers(wide, 2**32 - 1)
    even = code.mul(code.and_(factors, low_half), numbers(wide, multiplier))
    odd = code.mul(code.lshr(factors, numbers(wide, 32)), numbers(wide, multiplier))
    high = code.or_(code.lshr(even, numbers(wide, 32)), code.and_(odd, numbers(wide, 2**64 - 2**32)))
    low = code.or_(code.and_(even, low_half), code.shl(odd, numbers(wide, 32)))
    return code.bitcast(high, factor.type), code.bitcast(low, factor.type)


def _log_exponential(code: Code, bits: ir.Value) -> ir.Value:
    """log(-log(u)) for the uniform number u that the upper bits make."""
    vector = ir.VectorType(F32, bits.type.count)
    whole = code.sitofp(code.lshr(bits, numbers(bits.type, 32 - MANTISSA_BITS)), vector)
    uniform = code.fmul(code.fadd(whole, numbers(vector, 0.5)), numbers(vector, 2.0**-MANTISSA_BITS))
    return code.log(code.fneg(code.log(uniform)))
