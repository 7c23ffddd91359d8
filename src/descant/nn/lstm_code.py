"""Compiled functions of an LSTM's recurrence, whose weights are float16.

A tile computes 32 units: 128 sums, for the input, forget, cell and output gates in this order. Their weights lie
together, input after input, so that they are read once and in order. Each sum is added up in the order of the inputs.
"""

from functools import cache

from llvmlite import ir

from descant.compiled.code import F16, F32, I64, LANES, POINTER, Code, Target, Word, numbers
from descant.compiled.library import Library, compiled_library

NUM_GATES = 4
SUMS = NUM_GATES * LANES
"""Sums of a tile."""

LOW_SCALE = 2**-12
"""What the low parts of weights were divided by: the high parts are exact to 11 binary digits."""

PREFETCHED_BYTES = 4_096
"""How far ahead weights are asked for; processors do so by themselves, but not far enough."""


class StepWord(Word):
    """The 64-bit words of an operation. Tile t computes block ``FIRST_BLOCK + t * BLOCK_STEP`` of 32 units."""

    WEIGHT = 0
    ROWS = 1
    NUM_ROWS = 2
    WIDTH = 3
    FIRST_BLOCK = 4
    BLOCK_STEP = 5


class RowWord(Word):
    """The addresses of a row: what is added to its sums, gate after gate; the hidden state that it is multiplied with;
    what is written, a hidden state or the total of each gate; and the cells, which are replaced."""

    SUMMANDS = 0
    HIDDEN = 1
    OUTPUT = 2
    CELLS = 3
    NUM_WORDS = 4


def _blocks(target: Target) -> list[tuple[int, int]]:
    """How many rows are multiplied at once, the most first, and for how many sums: as many as fit into registers."""
    return [(8, 32), (2, 128), (1, 128)] if target.num_vectors >= 16 else [(4, 16), (2, 32), (1, 32)]


@cache
def lstm_library(target: Target) -> Library:
    """``step(words, state, tile)`` computes new states, ``correct(words, state, tile)`` adds the product of the low
    parts of weights to the summands."""
    return compiled_library(target, _add_lstm, target)


def _add_lstm(module: ir.Module, target: Target) -> None:
    cores = {rows: _core(module, rows, lanes) for rows, lanes in _blocks(target)}
    _tile(module, "step", cores)
    _tile(module, "correct", cores)


def _core(module: ir.Module, rows: int, lanes: int) -> ir.Function:
    """The sums of some rows: (row words, weights of the tile, number of inputs, where the sums go)."""
    code = Code(module, f"core_{rows}", [POINTER, POINTER, I64, POINTER])
    code.function.linkage = "internal"
    code.function.attributes.add("noinline")
    row_words, weights, num_inputs, result = code.function.args
    hidden = [code.pointer_at(row_words, row * RowWord.NUM_WORDS + RowWord.HIDDEN) for row in range(rows)]
    vector = ir.VectorType(F32, lanes)
    for first in range(0, SUMS, lanes):
        totals = [code.variable(numbers(vector, 0.0)) for _ in range(rows)]
        with code.for_range(I64(0), num_inputs) as index:
            at = code.add(code.mul(index, I64(SUMS)), I64(first))
            if first == 0:
                ahead = code.address(weights, at, F16)
                for line in range(0, 2 * SUMS, 64):
                    code.prefetch(code.gep(code.bitcast(ahead, POINTER), [I64(PREFETCHED_BYTES + line)]))
            of_input = code.fpext(code.read(weights, at, F16, lanes), vector)
            for pointer, total in zip(hidden, totals, strict=True):
                value = code.splat(code.read(pointer, index), lanes)
                code.store(code.fma(of_input, value, code.load(total)), total)
        for row, total in enumerate(totals):
            code.write(code.load(total), result, I64(SUMS * row + first))
    code.ret_void()
    return code.function


def _tile(module: ir.Module, name: str, cores: dict[int, ir.Function]) -> None:
    code = Code(module, name, [POINTER, POINTER, I64])
    words, _, tile = code.function.args
    weight, rows = code.pointer_at(words, StepWord.WEIGHT), code.pointer_at(words, StepWord.ROWS)
    num_rows, width, first, step = (
        code.read(words, I64(word), I64)
        for word in (StepWord.NUM_ROWS, StepWord.WIDTH, StepWord.FIRST_BLOCK, StepWord.BLOCK_STEP)
    )
    block = code.add(first, code.mul(tile, step))
    weights = code.bitcast(code.address(weight, code.mul(code.mul(block, width), I64(SUMS)), F16), POINTER)
    sums = code.bitcast(code.alloca(F32, max(cores) * SUMS), POINTER)
    unit = code.mul(block, I64(LANES))
    done = code.variable(I64(0))
    for at_once, core in cores.items():
        with code.for_range(I64(0), code.sdiv(code.sub(num_rows, code.load(done)), I64(at_once))):
            start = code.bitcast(code.address(rows, code.mul(code.load(done), I64(RowWord.NUM_WORDS)), I64), POINTER)
            code.call(core, [start, weights, width, sums])
            with code.for_range(I64(0), I64(at_once)) as row:
                row_words = code.bitcast(code.address(start, code.mul(row, I64(RowWord.NUM_WORDS)), I64), POINTER)
                of_row = code.bitcast(code.address(sums, code.mul(row, I64(SUMS)), F32), POINTER)
                (_finish_step if name == "step" else _finish_correction)(code, row_words, of_row, unit, width)
            code.store(code.add(code.load(done), I64(at_once)), done)
    code.ret_void()


def _finish_step(code: Code, row_words: ir.Value, sums: ir.Value, unit: ir.Value, width: ir.Value) -> None:
    """The new cells and hidden states."""
    summands, output, cells = (
        code.pointer_at(row_words, word) for word in (RowWord.SUMMANDS, RowWord.OUTPUT, RowWord.CELLS)
    )
    into, keep, new, out = (
        code.fadd(
            code.read(summands, code.add(code.mul(width, I64(gate)), unit), F32, LANES),
            code.read(sums, I64(gate * LANES), F32, LANES),
        )
        for gate in range(NUM_GATES)
    )
    kept = code.fmul(_sigmoid(code, keep), code.read(cells, unit, F32, LANES))
    cell = code.fma(_sigmoid(code, into), _tanh(code, new), kept)
    code.write(cell, cells, unit)
    code.write(code.fmul(_sigmoid(code, out), _tanh(code, cell)), output, unit)


def _finish_correction(code: Code, row_words: ir.Value, sums: ir.Value, unit: ir.Value, width: ir.Value) -> None:
    """The summands with the scaled sums."""
    summands, output = (code.pointer_at(row_words, word) for word in (RowWord.SUMMANDS, RowWord.OUTPUT))
    for gate in range(NUM_GATES):
        at = code.add(code.mul(width, I64(gate)), unit)
        of_gate = code.read(sums, I64(gate * LANES), F32, LANES)
        total = code.fma(of_gate, numbers(of_gate.type, LOW_SCALE), code.read(summands, at, F32, LANES))
        code.write(total, output, at)


def _sigmoid(code: Code, x: ir.Value) -> ir.Value:
    one = numbers(x.type, 1.0)
    small = code.exp(code.fneg(code.call_llvm("fabs", x)))
    larger = code.fdiv(one, code.fadd(one, small))
    return code.select(code.fcmp_ordered("<", x, numbers(x.type, 0.0)), code.fmul(small, larger), larger)


def _tanh(code: Code, x: ir.Value) -> ir.Value:
    one = numbers(x.type, 1.0)
    small = code.exp(code.fmul(code.call_llvm("fabs", x), numbers(x.type, -2.0)))
    size = code.fdiv(code.fsub(one, small), code.fadd(one, small))
    return code.call_llvm("copysign", size, x)
