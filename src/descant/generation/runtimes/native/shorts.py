"""Products of int8 weights with activations in 16 bits, for weights that were stored in int8.

The activations of a token are rounded in groups of 256 inputs, each to whole numbers from -32767 to 32767 times a
float32 scale. The products of a group sum to less than 2**31, so a sum is exact in any order and on any processor; the
groups are then added in their order, as float32. Two inputs are multiplied at once: twice as many as in float32.
"""

from itertools import product

from llvmlite import ir

from descant.compiled.code import (
    F32,
    I8,
    I16,
    I32,
    I64,
    LANES,
    POINTER,
    PREFETCHED_BYTES,
    Code,
    Target,
    numbers,
)
from descant.generation.runtimes.native.integers import ROUNDING, SMALLEST_ABSOLUTE, QuantizeWord

GROUP = 256
"""Inputs that share a scale. Up to 512 products of 127 and 32767 fit into 32 bits."""

LARGEST = 2**15 - 1


def short_words(num_inputs: int) -> int:
    """32-bit words of a token's rounded activations: two numbers in each, and then a scale for each group."""
    return num_inputs // 2 - (-num_inputs // GROUP)


def add_quantize_short(module: ir.Module, name: str) -> None:
    """Adds a function that rounds a token's activations, called with words, state and token. What is not a finite
    number makes its group's products NaN."""
    code = Code(module, name, [POINTER, POINTER, I64])
    words, _, token = code.function.args
    x, y = code.pointer_at(words, QuantizeWord.X), code.pointer_at(words, QuantizeWord.Y)
    x_stride, y_stride, num_inputs = (
        code.read(words, I64(word), I64)
        for word in (QuantizeWord.X_STRIDE, QuantizeWord.Y_STRIDE, QuantizeWord.NUM_INPUTS)
    )
    from_x, to_y = code.mul(token, x_stride), code.mul(token, y_stride)
    whole = ir.VectorType(I32, LANES)
    bits, scales = code.variable(numbers(whole, 0)), code.add(to_y, code.sdiv(num_inputs, I64(2)))
    with code.for_range(I64(0), num_inputs, GROUP) as start:
        end = _least(code, code.add(start, I64(GROUP)), num_inputs)
        code.store(numbers(whole, 0), bits)
        with code.for_range(start, end, LANES) as at:
            # As whole numbers, the bits of absolute values have the same order, and NaN is the largest.
            values = code.bitcast(code.read(x, code.add(from_x, at), F32, LANES), whole)
            absolute = code.and_(values, numbers(whole, 0x7FFFFFFF))
            code.store(code.intrinsic("llvm.smax.v32i32", whole, code.load(bits), absolute), bits)
        largest = code.bitcast(code.intrinsic("llvm.vector.reduce.smax.v32i32", I32, code.load(bits)), F32)
        largest = code.select(code.fcmp_ordered("<", largest, F32(SMALLEST_ABSOLUTE)), F32(SMALLEST_ABSOLUTE), largest)
        inverse = code.splat(code.fdiv(F32(LARGEST), largest))
        with code.for_range(start, end, LANES) as at:
            values = code.read(x, code.add(from_x, at), F32, LANES)
            rounded = code.trunc(code.bitcast(code.fma(values, inverse, ROUNDING), whole), ir.VectorType(I16, LANES))
            code.write(rounded, code.bitcast(code.address(y, to_y, I32), POINTER), at)
        code.write(code.fmul(largest, F32(1 / LARGEST)), y, code.add(scales, code.sdiv(start, I64(GROUP))))
    code.ret_void()


def short_cores(module: ir.Module, target: Target) -> dict[int, ir.Function]:
    """Functions that sum some rows over all inputs of a panel, by the number of rows, the most first."""
    wide = {8: 32, 4: 32, 2: 32, 1: 32}
    outputs_at_once = wide if target.register_bytes == 64 else {4: 16, 2: 32, 1: 32}
    return {rows: _core(module, target, rows, outputs) for rows, outputs in outputs_at_once.items()}


def _core(module: ir.Module, target: Target, rows: int, outputs: int) -> ir.Function:
    """Called with (rounded rows, words between them, panel, number of inputs, where the sums go)."""
    code = Code(module, f"core_int8_{rows}", [POINTER, I64, POINTER, I64, POINTER])
    code.function.linkage = "internal"
    code.function.attributes.add("noinline")
    x, stride, panel, num_inputs, result = code.function.args
    width = target.register_bytes // 4
    zero, whole_zero = numbers(ir.VectorType(F32, width), 0.0), numbers(ir.VectorType(I32, width), 0)
    scales = code.sdiv(num_inputs, I64(2))
    of_rows = [code.mul(I64(row), stride) for row in range(rows)]
    for first in range(0, LANES, outputs):
        places = [*product(range(rows), range(first, first + outputs, width))]
        sums = {place: code.variable(whole_zero) for place in places}
        for row, start in places:
            code.write(zero, result, I64(LANES * row + start))
        with code.for_range(I64(0), num_inputs, GROUP) as group:
            for place in places:
                code.store(whole_zero, sums[place])
            pairs, end_pairs = (
                code.sdiv(index, I64(2)) for index in (group, _least(code, code.add(group, I64(GROUP)), num_inputs))
            )
            with code.for_range(pairs, end_pairs) as pair:
                at = code.mul(pair, I64(2 * LANES))
                if first == 0:
                    code.prefetch(code.gep(panel, [code.add(at, I64(PREFETCHED_BYTES))]))
                inputs = [code.splat(code.read(x, code.add(row, pair), I32), width) for row in of_rows]
                for start in range(first, first + outputs, width):
                    weights = code.read(panel, code.add(at, I64(2 * start)), I8, 2 * width)
                    weights = code.sext(weights, ir.VectorType(I16, 2 * width))
                    for row in range(rows):
                        place = sums[row, start]
                        code.store(_add_pairs(code, target, code.load(place), weights, inputs[row]), place)
            of_group = code.add(scales, code.sdiv(group, I64(GROUP)))
            for row, start in places:
                scale = code.splat(code.read(x, code.add(of_rows[row], of_group)), width)
                at = I64(LANES * row + start)
                before, as_floats = (
                    code.read(result, at, F32, width),
                    code.sitofp(code.load(sums[row, start]), zero.type),
                )
                code.write(code.fma(as_floats, scale, before), result, at)
    code.ret_void()
    return code.function


def _add_pairs(code: Code, target: Target, sums: ir.Value, weights: ir.Value, inputs: ir.Value) -> ir.Value:
    """Sums of 32 bits with two products of 16 bits added to each.

    Args:
        inputs: two numbers of 16 bits in each of 32.
    """
    width, shorts = sums.type.count, code.bitcast(inputs, weights.type)
    if target.dot == "vnni":
        return code.intrinsic(f"llvm.x86.avx512.vpdpwssd.{32 * width}", sums.type, sums, weights, shorts)
    if target.dot == "maddubs":
        name = "llvm.x86.avx2.pmadd.wd" if width == 8 else "llvm.x86.avx512.pmaddw.d.512"
        return code.add(sums, code.intrinsic(name, sums.type, weights, shorts))
    for index in range(2):
        of_weights, of_inputs = (code.sext(code.every(vector, index, 2), sums.type) for vector in (weights, shorts))
        sums = code.add(sums, code.mul(of_weights, of_inputs))
    return sums


def _least(code: Code, left: ir.Value, right: ir.Value) -> ir.Value:
    return code.select(code.icmp_signed("<", left, right), left, right)
