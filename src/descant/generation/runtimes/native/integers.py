"""Products of integers: weights rounded to int8 or int4, activations to int8.

The activations of a token are rounded in groups of 32 inputs, each to whole numbers from -127 to 127 times a float32
scale. The products of a group sum to a whole number, which has the same bits in any order and on any processor; the
groups are then added in their order, as float32, each times its scales.

Processors multiply unsigned with signed bytes, so weights are kept without sign, their zero at 128 (int8) or 8 (int4).
A sum is therefore too large by that zero times the sum of the group's activations, and starts from minus as much. Where
signs can be moved from one factor to the other, nothing has to be taken off.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import TypeAlias

from llvmlite import ir

from descant.compiled.code import (
    F16,
    F32,
    I1,
    I8,
    I16,
    I32,
    I64,
    LANES,
    POINTER,
    PREFETCHED_BYTES,
    Code,
    Dot,
    Target,
    Word,
    numbers,
)
from descant.generation.runtimes.native.packing import (
    GROUP,
    GROUP_SCALES_BYTES,
    ZEROS,
    PackedFormat,
    group_bytes,
)

LARGEST = 127

SMALLEST_ABSOLUTE = 1e-30
"""Activations below this are as good as zero, and their scale's inverse is still finite."""

ROUNDING = numbers(ir.VectorType(F32, LANES), 1.5 * 2.0**23)
"""Added to a number of few digits, it leaves the nearest whole number in the last bits of the sum."""

QUADS = GROUP // 4
"""Four inputs are multiplied at once."""

SCALE_WORD, START_WORD, GROUP_WORDS = QUADS, QUADS + 1, QUADS + 2
"""A group of rounded activations in 32-bit words: its numbers, its scale, and where its sums start."""


class QuantizeWord(Word):
    """The 64-bit words that describe activations to round. Strides count 32-bit words."""

    X = 0
    X_STRIDE = 1
    Y = 2
    Y_STRIDE = 3
    NUM_INPUTS = 4


def quantized_words(num_inputs: int) -> int:
    """32-bit words of a token's rounded activations; the number of inputs is padded."""
    return num_inputs // GROUP * GROUP_WORDS


def add_quantize(module: ir.Module, name: str, format: PackedFormat) -> None:
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
    with code.for_range(I64(0), num_inputs, GROUP) as start:
        values = code.read(x, code.add(from_x, start), F32, LANES)
        group = code.add(to_y, code.mul(code.sdiv(start, I64(GROUP)), I64(GROUP_WORDS)))
        quantize_group(code, values, code.bitcast(code.address(y, group, I32), POINTER), ZEROS[format])
    code.ret_void()


def quantize_group(code: Code, values: ir.Value, to: ir.Value, zero: int) -> None:
    """Rounds 32 activations and writes their words.

    Args:
        zero: the number that stands for weights of zero.
    """
    whole = ir.VectorType(I32, LANES)
    # As whole numbers, the bits of absolute values have the same order, and NaN is the largest.
    bits = code.and_(code.bitcast(values, whole), numbers(whole, 0x7FFFFFFF))
    largest = code.bitcast(code.intrinsic("llvm.vector.reduce.smax.v32i32", I32, bits), F32)
    largest = code.select(code.fcmp_ordered("<", largest, F32(SMALLEST_ABSOLUTE)), F32(SMALLEST_ABSOLUTE), largest)
    inverse = code.splat(code.fdiv(F32(LARGEST), largest))
    rounded = code.trunc(code.bitcast(code.fma(values, inverse, ROUNDING), whole), ir.VectorType(I8, LANES))
    total = code.intrinsic("llvm.vector.reduce.add.v32i32", I32, code.sext(rounded, whole))
    code.write(rounded, to, I64(0))
    code.write(code.fmul(largest, F32(1 / LARGEST)), to, I64(SCALE_WORD))
    code.write(code.mul(total, I32(-zero)), to, I64(START_WORD))


def integer_cores(module: ir.Module, format: PackedFormat, target: Target) -> dict[int, ir.Function]:
    """Functions that sum some rows over all inputs of a panel, by the number of rows, the most first."""
    wide = {8: 32, 4: 32, 2: 32, 1: 32}
    outputs_at_once = wide if target.register_bytes == 64 else {4: 16, 2: 32, 1: 32}
    return {rows: _core(module, format, target, rows, lanes) for rows, lanes in outputs_at_once.items()}


@dataclass(frozen=True)
class Block:
    """One group of a panel, and of some rows.

    Args:
        weights: the group's bytes.
        rows: each row's words.
        starts: the first outputs of each vector of sums.
        width: the number of sums in a vector.
    """

    code: Code
    format: PackedFormat
    weights: ir.Value
    rows: list[ir.Value]
    starts: range
    width: int

    @property
    def sums_type(self) -> ir.Type:
        """The type of a vector of sums."""
        return ir.VectorType(I32, self.width)

    @property
    def sums(self) -> Iterator[tuple[int, int]]:
        """The row and the first output of each vector of sums."""
        return product(range(len(self.rows)), self.starts)

    def bytes_of(self, start: int, index: ir.Value) -> ir.Value:
        """Weights of outputs from ``start`` on: of four inputs in int8, of eight in int4."""
        at = self.code.add(self.code.mul(index, I64(4 * LANES)), I64(GROUP_SCALES_BYTES[self.format] + 4 * start))
        return self.code.read(self.weights, at, I8, 4 * self.width)

    def halves(self, both: ir.Value) -> tuple[ir.Value, ir.Value]:
        """The low and the high half of each byte."""
        return self.code.and_(both, numbers(both.type, 15)), self.code.lshr(both, numbers(both.type, 4))

    def word(self, row: int, index: ir.Value) -> ir.Value:
        """A word of a row in every place of a vector."""
        return self.code.splat(self.code.read(self.rows[row], index, I32), self.width)

    def scale(self, row: int, start: int) -> ir.Value:
        """What the sums are multiplied with."""
        code, vector = self.code, ir.VectorType(F32, self.width)
        scale = code.bitcast(self.word(row, I64(SCALE_WORD)), vector)
        if not GROUP_SCALES_BYTES[self.format]:
            return scale
        return code.fmul(code.fpext(code.read(self.weights, I64(start), F16, self.width), vector), scale)


Sums: TypeAlias = dict[tuple[int, int], ir.Value]
"""Vectors of 32-bit sums, by row and first output."""


def _vnni(block: Block) -> Sums:
    """Four products are added at once."""
    code, name = block.code, f"llvm.x86.avx512.vpdpbusd.{32 * block.width}"
    sums = {(row, start): block.word(row, I64(START_WORD)) for row, start in block.sums}
    for quad, start, weights in _multiplied(block):
        for row in range(len(block.rows)):
            inputs = code.bitcast(block.word(row, I64(quad)), weights.type)
            sums[row, start] = code.intrinsic(name, block.sums_type, sums[row, start], weights, inputs)
    return sums


def _maddubs(block: Block) -> Sums:
    """Two products are added at once, to 16 bits. Halves of weights, up to 15, leave room for a whole group: 2 * 8
    products of at most 15 * 127.

    A loop, since LLVM sorts the sums of straight code by rows, and then has more of them than registers.
    """
    code, shorts = block.code, ir.VectorType(I16, 2 * block.width)
    by_two, add_pairs = (
        ("llvm.x86.avx2.pmadd.ub.sw", "llvm.x86.avx2.pmadd.wd")
        if block.width == 8
        else ("llvm.x86.avx512.pmaddubs.w.512", "llvm.x86.avx512.pmaddw.d.512")
    )
    is_int4 = block.format == "w4a8"
    short_sums = {
        (row, start, factor): code.variable(numbers(shorts, 0))
        for row, start in block.sums
        for factor in ((1,) if is_int4 else (1, 16))
    }
    with code.for_range(I64(0), code.hidden(I64(QUADS // 2 if is_int4 else QUADS))) as index:
        quads = (code.mul(index, I64(2)), code.add(code.mul(index, I64(2)), I64(1))) if is_int4 else (index, index)
        inputs = {(row, half): block.word(row, quads[half]) for row in range(len(block.rows)) for half in range(2)}
        for start in block.starts:
            for half, weights in enumerate(block.halves(block.bytes_of(start, index))):
                factor = 1 if is_int4 or half == 0 else 16
                for row in range(len(block.rows)):
                    of_row = code.bitcast(inputs[row, half], weights.type)
                    place = short_sums[row, start, factor]
                    code.store(code.add(code.load(place), code.intrinsic(by_two, shorts, weights, of_row)), place)
    sums = {(row, start): block.word(row, I64(START_WORD)) for row, start in block.sums}
    for (row, start, factor), place in short_sums.items():
        pairs = code.intrinsic(add_pairs, block.sums_type, code.load(place), numbers(shorts, factor))
        sums[row, start] = code.add(sums[row, start], pairs)
    return sums


def _by_sign(block: Block) -> Sums:
    """Sizes of weights times inputs with the weights' signs, for int8 and AVX2: two products of at most 127 * 127 leave
    no room for more in 16 bits, but one instruction less is needed than with halves."""
    code, bytes_of_four, shorts = block.code, ir.VectorType(I8, 4 * block.width), ir.VectorType(I16, 2 * block.width)
    places = {place: code.variable(numbers(block.sums_type, 0)) for place in block.sums}
    with code.for_range(I64(0), code.hidden(I64(QUADS))) as quad:
        for start in block.starts:
            weights = code.xor(block.bytes_of(start, quad), numbers(bytes_of_four, ZEROS["w8a8"]))
            sizes = code.intrinsic("llvm.abs.v32i8", bytes_of_four, weights, I1(0))
            for row in range(len(block.rows)):
                inputs = code.bitcast(block.word(row, quad), bytes_of_four)
                signed = code.intrinsic("llvm.x86.avx2.psign.b", bytes_of_four, inputs, weights)
                by_two = code.intrinsic("llvm.x86.avx2.pmadd.ub.sw", shorts, sizes, signed)
                by_four = code.intrinsic("llvm.x86.avx2.pmadd.wd", block.sums_type, by_two, numbers(shorts, 1))
                code.store(code.add(code.load(places[row, start]), by_four), places[row, start])
    return {place: code.load(variable) for place, variable in places.items()}


def _plain(block: Block) -> Sums:
    """Every product is 32 bits wide."""
    code = block.code
    sums = {(row, start): block.word(row, I64(START_WORD)) for row, start in block.sums}
    for quad, start, weights in _multiplied(block):
        for index in range(4):
            of_input = code.zext(code.every(weights, index, 4), block.sums_type)
            for row in range(len(block.rows)):
                value = code.sext(code.read(block.rows[row], I64(4 * quad + index), I8), I32)
                products = code.mul(of_input, code.splat(value, block.width))
                sums[row, start] = code.add(sums[row, start], products)
    return sums


DOTS: dict[Dot, Callable[[Block], Sums]] = {"vnni": _vnni, "maddubs": _maddubs, "plain": _plain}


def _dot(format: PackedFormat, target: Target) -> Callable[[Block], Sums]:
    """How a processor multiplies a format."""
    is_signed = format == "w8a8" and target.dot == "maddubs" and target.register_bytes == 32
    return _by_sign if is_signed else DOTS[target.dot]


def _multiplied(block: Block) -> Iterator[tuple[int, int, ir.Value]]:
    """Weights as unsigned bytes: which four inputs they belong to, the first output, and the bytes."""
    if block.format == "w4a8":
        for pair, start in product(range(QUADS // 2), block.starts):
            low, high = block.halves(block.bytes_of(start, I64(pair)))
            yield 2 * pair, start, low
            yield 2 * pair + 1, start, high
        return
    for quad, start in product(range(QUADS), block.starts):
        yield quad, start, block.bytes_of(start, I64(quad))


def _core(module: ir.Module, format: PackedFormat, target: Target, rows: int, lanes: int) -> ir.Function:
    """Called with (rounded rows, words between them, panel, number of inputs, where the sums go)."""
    code = Code(module, f"core_{format}_{rows}", [POINTER, I64, POINTER, I64, POINTER])
    code.function.linkage = "internal"
    code.function.attributes.add("noinline")
    x, stride, panel, num_inputs, result = code.function.args
    width, dot = target.register_bytes // 4, _dot(format, target)
    zero = numbers(ir.VectorType(F32, width), 0.0)
    for first in range(0, LANES, lanes):
        starts = range(first, first + lanes, width)
        totals = {place: code.variable(zero) for place in product(range(rows), starts)}
        for total in totals.values():
            code.store(zero, total)
        with code.for_range(I64(0), code.sdiv(num_inputs, I64(GROUP))) as group:
            weights = code.gep(panel, [code.mul(group, I64(group_bytes(format)))])
            if first == 0:
                for line in range(0, group_bytes(format), 64):
                    code.prefetch(code.gep(weights, [I64(line + PREFETCHED_BYTES)]))
            of_group = code.mul(group, I64(GROUP_WORDS))
            places = [code.address(x, code.add(code.mul(I64(row), stride), of_group), I32) for row in range(rows)]
            block = Block(code, format, weights, [code.bitcast(place, POINTER) for place in places], starts, width)
            for (row, start), sums in dot(block).items():
                total = totals[row, start]
                as_floats = code.sitofp(sums, zero.type)
                code.store(code.fma(as_floats, block.scale(row, start), code.load(total)), total)
        for (row, start), total in totals.items():
            code.write(code.load(total), result, I64(LANES * row + start))
    code.ret_void()
    return code.function
