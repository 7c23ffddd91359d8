"""Matrix products of a few rows with packed weights: functions for each format of weights.

A weight is packed in panels of 32 outputs, input after input. Each output is summed over the inputs in their order,
whatever the number of rows, the number of threads or the width of the processor's registers: so a row has the same bits
alone and in any batch, as a step and within a prompt, and on any processor. Formats that are multiplied with rounded
activations have their sums in ``shorts.py`` (16 bits) and ``integers.py`` (8 bits).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from llvmlite import ir

from descant.compiled.code import F16, F32, I16, I32, I64, LANES, POINTER, PREFETCHED_BYTES, Code, Target, Word, numbers
from descant.generation.runtimes.native.integers import add_quantize, integer_cores
from descant.generation.runtimes.native.packing import HAS_SCALES, ZEROS, PackedFormat
from descant.generation.runtimes.native.shorts import add_quantize_short, short_cores

ERFCX_SCALE = 0.4
ERFCX_COEFFICIENTS = (
    *(-1.0101500118327306e-05, 0.2259418951067329, 0.2225794098701888, 0.22861047742903795, 0.07965246371859185),
    *(0.3931173509551945, -0.48105840448784287, 0.7596789081467572, -0.6446197111861216, 0.255702014114925),
    -0.039594300926580575,
)
"""The polynomial of t = 1 / (1 + 0.4 a) nearest to exp(a * a) * erfc(a) for a from 0 to 9.4, up to 1.3e-9."""


BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}


class ProductWord(Word):
    """The 64-bit words that describe the product y = x W to its function. Strides count floats, or words of rounded
    activations; a tile computes some of the panels for all rows. ``NUM_ROWS`` is the word of the state that counts
    them."""

    X = 0
    X_STRIDE = 1
    WEIGHT = 2
    SCALES = 3
    Y = 4
    Y_STRIDE = 5
    NUM_INPUTS = 6
    NUM_PANELS = 7
    PANELS_PER_TILE = 8
    PANEL_BYTES = 9
    GAIN = 10
    NUM_ROWS = 11


def block_rows(target: Target) -> list[tuple[int, int]]:
    """How many rows are multiplied at once, the most first, each with the outputs of a panel that are summed at once:
    as many sums as fit into the registers."""
    wide = [(8, 32), (4, 32), (2, 32), (1, 32)]
    return wide if target.num_vectors >= 16 else [(6, 16), (4, 16), (2, 32), (1, 32)]


@dataclass(frozen=True)
class Sums:
    """The sums of some rows over the inputs seen so far, kept in registers.

    Args:
        x: the rows, ``stride`` floats apart.
        totals: a variable for each row.
    """

    code: Code
    x: ir.Value
    stride: ir.Value
    totals: list[ir.Value]

    def add(self, weights: ir.Value, index: ir.Value) -> None:
        """Adds each row's input ``index`` times the weights."""
        for row, total in enumerate(self.totals):
            value = self.code.read(self.x, self.code.add(self.code.mul(I64(row), self.stride), index))
            product = self.code.fma(weights, self.code.splat(value, weights.type.count), self.code.load(total))
            self.code.store(product, total)


def add_products(module: ir.Module, format: PackedFormat, target: Target) -> None:
    """Adds the functions ``product_FORMAT_EPILOGUE`` to a module, called with words, state and tile; and ``quantize``,
    for a token, to the formats that multiply rounded activations."""
    if format in ZEROS:
        add_quantize(module, "quantize", format)
        cores = integer_cores(module, format, target)
    elif format == "int8":
        add_quantize_short(module, "quantize")
        cores = short_cores(module, target)
    else:
        cores = {rows: _core(module, format, rows, lanes) for rows, lanes in block_rows(target)}
    for epilogue, finish in EPILOGUES.items():
        _product(module, f"product_{format}_{epilogue}", cores, has_scales=format in HAS_SCALES, finish=finish)


def _core(module: ir.Module, format: PackedFormat, rows: int, lanes: int) -> ir.Function:
    """Sums of some rows over all inputs of a panel: (x, stride of x, panel, number of inputs, where the sums go)."""
    code = Code(module, f"core_{format}_{rows}", [POINTER, I64, POINTER, I64, POINTER])
    code.function.linkage = "internal"
    code.function.attributes.add("noinline")
    x, stride, panel, num_inputs, result = code.function.args
    zero = numbers(ir.VectorType(F32, lanes), 0.0)
    for first in range(0, LANES, lanes):
        sums = Sums(code, x, stride, [code.variable(zero) for _ in range(rows)])
        with code.for_range(I64(0), num_inputs) as index:
            at = code.add(code.mul(index, I64(LANES)), I64(first))
            if first == 0:
                ahead = code.add(code.mul(index, I64(BYTES[format] * LANES)), I64(PREFETCHED_BYTES))
                code.prefetch(code.gep(panel, [ahead]))
            sums.add(_as_floats(code, panel, at, format, lanes), index)
        for row, total in enumerate(sums.totals):
            code.write(code.load(total), result, I64(LANES * row + first))
    code.ret_void()
    return code.function


def _as_floats(code: Code, panel: ir.Value, at: ir.Value, format: PackedFormat, lanes: int) -> ir.Value:
    """Weights of one input."""
    vector, whole = ir.VectorType(F32, lanes), ir.VectorType(I32, lanes)
    if format == "fp32":
        return code.read(panel, at, F32, lanes)
    if format == "fp16":
        return code.fpext(code.read(panel, at, F16, lanes), vector)
    return code.bitcast(code.shl(code.zext(code.read(panel, at, I16, lanes), whole), numbers(whole, 16)), vector)


Epilogue: TypeAlias = Callable[[Code, ir.Value, ir.Value, ir.Value, ir.Value], ir.Value]
"""What is stored for 32 sums: of the code, the sums, y, the place in y, and the gain."""


def _store(_code: Code, sums: ir.Value, _y: ir.Value, _at: ir.Value, _gain: ir.Value) -> ir.Value:
    return sums


def _gelu(code: Code, sums: ir.Value, _y: ir.Value, _at: ir.Value, _gain: ir.Value) -> ir.Value:
    return gelu(code, sums)


def _add(code: Code, sums: ir.Value, y: ir.Value, at: ir.Value, gain: ir.Value) -> ir.Value:
    return code.fma(sums, code.splat(gain), code.read(y, at, F32, LANES))


def _add_gelu(code: Code, sums: ir.Value, y: ir.Value, at: ir.Value, gain: ir.Value) -> ir.Value:
    return gelu(code, _add(code, sums, y, at, gain))


EPILOGUES: dict[str, Epilogue] = {"store": _store, "gelu": _gelu, "add": _add, "add_gelu": _add_gelu}
"""The sums themselves, their GELU, what was in y before plus the sums times the gain, or its GELU."""


def gelu(code: Code, x: ir.Value) -> ir.Value:
    """The exact GELU, x * (1 + erf(x / sqrt 2)) / 2, up to float32's rounding."""
    type = x.type
    scaled = code.fmul(code.call_llvm("fabs", x), numbers(type, 0.5**0.5))
    t = code.fdiv(numbers(type, 1.0), code.fma(scaled, numbers(type, ERFCX_SCALE), numbers(type, 1.0)))
    erfcx = numbers(type, ERFCX_COEFFICIENTS[-1])
    for coefficient in ERFCX_COEFFICIENTS[-2::-1]:
        erfcx = code.fma(erfcx, t, numbers(type, coefficient))
    lower = code.fmul(code.fmul(numbers(type, 0.5), erfcx), code.exp(code.fneg(code.fmul(scaled, scaled))))
    is_positive = code.fcmp_ordered(">", x, numbers(type, 0.0))
    return code.fmul(x, code.select(is_positive, code.fsub(numbers(type, 1.0), lower), lower))


def _product(
    module: ir.Module, name: str, cores: dict[int, ir.Function], *, has_scales: bool, finish: Epilogue
) -> None:
    code = Code(module, name, [POINTER, POINTER, I64])
    words, state, tile = code.function.args
    x, weight, scales, y = (
        code.pointer_at(words, word) for word in (ProductWord.X, ProductWord.WEIGHT, ProductWord.SCALES, ProductWord.Y)
    )
    x_stride, y_stride, num_inputs, num_panels, per_tile, panel_bytes = (
        code.read(words, I64(word), I64)
        for word in (
            *(ProductWord.X_STRIDE, ProductWord.Y_STRIDE, ProductWord.NUM_INPUTS, ProductWord.NUM_PANELS),
            *(ProductWord.PANELS_PER_TILE, ProductWord.PANEL_BYTES),
        )
    )
    gain = code.bitcast(code.trunc(code.read(words, I64(ProductWord.GAIN), I64), I32), F32)
    num_tokens = code.read(state, code.read(words, I64(ProductWord.NUM_ROWS), I64), I64)
    sums = code.bitcast(code.alloca(F32, max(cores) * LANES), POINTER)
    first = code.mul(tile, per_tile)
    end = code.add(first, per_tile)
    end = code.select(code.icmp_signed("<", end, num_panels), end, num_panels)
    with code.for_range(first, end) as panel:
        at_panel = code.gep(weight, [code.mul(panel, panel_bytes)])
        column = code.mul(panel, I64(LANES))
        token = code.variable(I64(0))
        for rows, core in cores.items():
            blocks = code.sdiv(code.sub(num_tokens, code.load(token)), I64(rows))
            with code.for_range(I64(0), blocks):
                current = code.load(token)
                at_x = code.address(x, code.mul(current, x_stride), F32)
                code.call(core, [code.bitcast(at_x, POINTER), x_stride, at_panel, num_inputs, sums])
                with code.for_range(I64(0), I64(rows)) as row:
                    at = code.add(code.mul(code.add(current, row), y_stride), column)
                    values = code.read(sums, code.mul(row, I64(LANES)), F32, LANES)
                    if has_scales:
                        values = code.fmul(values, code.read(scales, column, F32, LANES))
                    code.write(finish(code, values, y, at, gain), y, at)
                code.store(code.add(current, I64(rows)), token)
    code.ret_void()
