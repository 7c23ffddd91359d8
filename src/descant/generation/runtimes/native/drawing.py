"""From logits to codes in one compiled function: guidance, temperature, top-k and the draw, a codebook of a job a tile.

The operations and their order are those of ``guidance.py`` and ``sampling.py``, so the codes and the values are the
same bits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from llvmlite import ir
from torch import Tensor

from descant.compiled.code import F32, I32, I64, LANES, POINTER, Code, Target, Word, numbers
from descant.compiled.library import Library, compiled_library
from descant.generation.runtimes.native.packing import address_of


class DrawWord(Word):
    """The 64-bit words of a draw. Strides count floats. The first codebook of a job loses its penalty (0 for none) for
    each time that a code is counted; there is a count more than there are entries."""

    LOGITS = 0
    ROW_STRIDE = 1
    CODEBOOK_STRIDE = 2
    NUM_CODEBOOKS = 3
    NUM_ENTRIES = 4
    LOG_NOISE = 5
    TERMS = 6
    NUM_TERMS = 7
    TEMPERATURES = 8
    TOP_KS = 9
    ARE_GREEDY = 10
    CODES = 11
    VALUES = 12
    PENALTIES = 13
    COUNTS = 14


class TermWord(Word):
    """The words of a guidance term: the row of the first job's negative conditions, the jobs that have the term, and
    their scales."""

    FIRST_ROW = 0
    NUM_JOBS = 1
    SCALES = 2
    NUM_WORDS = 3


@dataclass(frozen=True, eq=False)
class DrawSettings:
    """Of each job its temperature, the number of codes that are kept, and whether the likeliest one is taken."""

    temperatures: Float[np.ndarray, " jobs"]
    top_ks: Int[np.ndarray, " jobs"]
    are_greedy: Int[np.ndarray, " jobs"]

    @cached_property
    def addresses(self) -> list[int]:
        """Where they are, found once for many draws."""
        return [address_of(array) for array in (self.temperatures, self.top_ks, self.are_greedy)]


def draw_codes(
    logits: Float[Tensor, "B K V"],
    terms: Sequence[tuple[int, Float[Tensor, "_ 1 1"]]],
    settings: DrawSettings,
    log_noise: Float[Tensor, "jobs K V"],
) -> tuple[Int[Tensor, "jobs K"], Float[Tensor, "jobs K"]]:
    """One code per job and codebook, and the values with which they won, not finite where a logit is NaN or infinity.

    Args:
        logits: float32, each codebook's side by side. V is a multiple of 32.
        terms: of guidance, in their order: the first negative row, and the scales of the jobs that have the term.
    """
    num_jobs, num_codebooks, num_entries = log_noise.shape
    codes = torch.empty(num_jobs, num_codebooks, dtype=torch.int64)
    values = torch.empty(num_jobs, num_codebooks)
    of_terms = np.array([[row, len(scales), address_of(scales)] for row, scales in terms], np.int64)
    words = np.zeros(len(DrawWord), np.int64)
    words[DrawWord.LOGITS], words[DrawWord.LOG_NOISE] = address_of(logits), address_of(log_noise)
    words[DrawWord.ROW_STRIDE], words[DrawWord.CODEBOOK_STRIDE] = logits.stride(0), logits.stride(1)
    words[DrawWord.NUM_CODEBOOKS], words[DrawWord.NUM_ENTRIES] = num_codebooks, num_entries
    words[DrawWord.TERMS], words[DrawWord.NUM_TERMS] = address_of(of_terms), len(terms)
    words[DrawWord.TEMPERATURES : DrawWord.ARE_GREEDY + 1] = settings.addresses
    words[DrawWord.CODES], words[DrawWord.VALUES] = address_of(codes), address_of(values)
    _draw_function()(words.ctypes.data, num_jobs * num_codebooks)
    return codes, values


@cache
def draw_library(target: Target) -> Library:
    """The functions that draw."""
    return compiled_library(target, add_draw)


@cache
def _draw_function() -> Callable[..., None]:
    return draw_library(Target.host()).function("draw", 2)


def add_draw(module: ir.Module) -> None:
    """``draw(words, number of tiles)``, and ``draw_tile(words, state, tile)`` for a program."""
    one = Code(module, "draw_tile", [POINTER, POINTER, I64])
    words, _, tile = one.function.args
    row = _Row(one, words, tile)
    largest = row.guide()
    row.scale(largest)
    row.draw(largest)
    one.ret_void()
    code = Code(module, "draw", [POINTER, I64])
    words, num_tiles = code.function.args
    with code.for_range(I64(0), num_tiles) as tile:
        code.call(one.function, [words, words, tile])
    code.ret_void()


class _Row:
    """The code for one codebook of a job: its logits, guided, and then relative to the largest and divided by the
    temperature, in memory of its own."""

    def __init__(self, code: Code, words: ir.Value, tile: ir.Value) -> None:
        self.code, self.words, self.tile = code, words, tile
        self.vector, self.whole = ir.VectorType(F32, LANES), ir.VectorType(I32, LANES)
        self.num_entries = self.word(DrawWord.NUM_ENTRIES)
        self.guided, self.scaled, self.lost = (
            code.bitcast(code.alloca(F32, self.num_entries), POINTER) for _ in range(3)
        )
        num_codebooks = self.word(DrawWord.NUM_CODEBOOKS)
        self.job, self.codebook = code.sdiv(tile, num_codebooks), code.srem(tile, num_codebooks)

    def word(self, index: int) -> ir.Value:
        """A word of the draw."""
        return self.code.read(self.words, I64(index), I64)

    def of_job(self, words: DrawWord, type: ir.Type) -> ir.Value:
        """A setting of the job."""
        return self.code.read(self.code.pointer_at(self.words, words), self.job, type)

    def guide(self) -> ir.Value:
        """Puts the guided logits into their memory; gives the largest, or NaN if there is one."""
        code = self.code
        logits, terms = (code.pointer_at(self.words, word) for word in (DrawWord.LOGITS, DrawWord.TERMS))
        self._find_lost()
        of_codebook = code.mul(self.codebook, self.word(DrawWord.CODEBOOK_STRIDE))
        own = code.add(of_codebook, code.mul(self.job, self.word(DrawWord.ROW_STRIDE)))
        with code.for_range(I64(0), self.num_entries, LANES) as at:
            lost = code.read(self.lost, at, F32, LANES)
            code.write(code.fsub(code.read(logits, code.add(own, at), F32, LANES), lost), self.guided, at)
        with code.for_range(I64(0), self.word(DrawWord.NUM_TERMS)) as index:
            first_row, num_jobs, scales = (
                code.read(terms, code.add(code.mul(index, I64(TermWord.NUM_WORDS)), I64(word)), I64)
                for word in list(TermWord)[:3]
            )
            has_term = code.icmp_signed("<", self.job, num_jobs)
            num_read = code.select(has_term, self.num_entries, I64(0))
            scale = code.read(code.inttoptr(scales, POINTER), code.select(has_term, self.job, I64(0)))
            row = code.mul(code.add(first_row, self.job), self.word(DrawWord.ROW_STRIDE))
            with code.for_range(I64(0), num_read, LANES) as at:
                lost = code.read(self.lost, at, F32, LANES)
                against = code.fsub(code.read(logits, code.add(code.add(row, of_codebook), at), F32, LANES), lost)
                difference = code.fsub(code.read(self.guided, at, F32, LANES), against)
                code.write(code.fadd(against, code.fmul(code.splat(scale), difference)), self.guided, at)
        largest = code.variable(numbers(self.vector, float("-inf")))
        code.store(numbers(self.vector, float("-inf")), largest)
        with code.for_range(I64(0), self.num_entries, LANES) as at:
            code.store(code.call_llvm("maximum", code.load(largest), code.read(self.guided, at, F32, LANES)), largest)
        return code.reduce(code.load(largest), lambda left, right: code.call_llvm("maximum", left, right))

    def _find_lost(self) -> None:
        """Puts what penalties take off the logits into its memory."""
        code = self.code
        with code.for_range(I64(0), self.num_entries, LANES) as at:
            code.write(numbers(self.vector, 0.0), self.lost, at)
        penalties = self.word(DrawWord.PENALTIES)
        is_first = code.icmp_signed("==", self.codebook, I64(0))
        with code.if_then(code.and_(is_first, code.icmp_signed("!=", penalties, I64(0)))):
            penalty = code.splat(self.of_job(DrawWord.PENALTIES, F32))
            counts = code.mul(self.job, code.add(self.num_entries, I64(1)))
            with code.for_range(I64(0), self.num_entries, LANES) as at:
                count = code.read(code.pointer_at(self.words, DrawWord.COUNTS), code.add(counts, at), F32, LANES)
                code.write(code.fmul(penalty, count), self.lost, at)

    def scale(self, largest: ir.Value) -> None:
        """Puts the scaled logits into their memory."""
        code = self.code
        temperature = code.splat(self.of_job(DrawWord.TEMPERATURES, F32))
        with code.for_range(I64(0), self.num_entries, LANES) as at:
            relative = code.fsub(code.read(self.guided, at, F32, LANES), code.splat(largest))
            code.write(code.fdiv(relative, temperature), self.scaled, at)

    def draw(self, largest: ir.Value) -> None:
        """Writes the code that wins among the ``top_k`` largest, and its value.

        The winner of all is nearly always one of the largest. If it is not, then neither is any that is as small, and
        the others race again: so nothing has to be sorted. No scaled logit is above 0, so bits rise as logits fall.
        """
        code = self.code
        # What is not finite wins nothing, so nothing may race again.
        is_finite = code.fcmp_ordered("<", code.call_llvm("fabs", largest), F32(float("inf")))
        top_k = code.select(is_finite, self.of_job(DrawWord.TOP_KS, I64), self.num_entries)
        value, winner = code.variable(F32(0.0)), code.variable(I32(0))
        limit = code.variable(I32(2**31 - 1))
        code.store(I32(2**31 - 1), limit)
        race, finished = code.append_basic_block("race"), code.append_basic_block("finished")
        code.branch(race)
        code.position_at_end(race)
        self._race(code.load(limit), value, winner)
        bits = self._bits_of(code.read(self.scaled, code.zext(code.load(winner), I64)))
        code.store(code.sub(bits, I32(1)), limit)
        num_larger = code.zext(self._num_below(bits), I64)
        code.cbranch(code.icmp_signed("<", num_larger, top_k), finished, race)
        code.position_at_end(finished)
        is_number = code.fcmp_ordered("==", largest, largest)
        code.write(code.zext(code.load(winner), I64), code.pointer_at(self.words, DrawWord.CODES), self.tile)
        number = code.select(is_number, code.load(value), F32(float("nan")))
        code.write(number, code.pointer_at(self.words, DrawWord.VALUES), self.tile)

    def _race(self, limit: ir.Value, value: ir.Value, winner: ir.Value) -> None:
        """Stores the largest value, and the first entry that has it, of those whose bits are up to a limit."""
        code = self.code
        noise = code.pointer_at(self.words, DrawWord.LOG_NOISE)
        row = code.mul(self.tile, self.num_entries)
        is_greedy = code.icmp_signed("!=", self.of_job(DrawWord.ARE_GREEDY, I64), I64(0))
        lowest = numbers(self.vector, float("-inf"))
        best, winners = code.variable(lowest), code.variable(numbers(self.whole, 0))
        code.store(lowest, best)
        code.store(numbers(self.whole, 0), winners)
        places = ir.Constant(self.whole, [*range(LANES)])
        with code.for_range(I64(0), self.num_entries, LANES) as at:
            scaled = code.read(self.scaled, at, F32, LANES)
            drawn = code.fsub(scaled, code.read(noise, code.add(row, at), F32, LANES))
            drawn = code.select(code.splat(is_greedy), code.read(self.guided, at, F32, LANES), drawn)
            is_left = code.icmp_signed("<=", self._bits_of(scaled), code.splat(limit))
            is_better = code.and_(is_left, code.fcmp_ordered(">", drawn, code.load(best)))
            entry = code.add(code.splat(code.trunc(at, I32)), places)
            code.store(code.select(is_better, drawn, code.load(best)), best)
            code.store(code.select(is_better, entry, code.load(winners)), winners)
        largest = code.reduce(code.load(best), lambda left, right: code.call_llvm("maxnum", left, right))
        is_winner = code.fcmp_ordered("==", code.load(best), code.splat(largest))
        # Of equal ones the first.
        entries = code.select(is_winner, code.load(winners), numbers(self.whole, 2**31 - 1))
        first = code.reduce(entries, lambda left, right: code.select(code.icmp_signed("<", left, right), left, right))
        code.store(largest, value)
        code.store(first, winner)

    def _num_below(self, bits: ir.Value) -> ir.Value:
        """The number of entries with smaller bits."""
        code, count = self.code, self.code.variable(numbers(self.whole, 0))
        code.store(numbers(self.whole, 0), count)
        with code.for_range(I64(0), self.num_entries, LANES) as at:
            is_below = code.icmp_signed("<", self._bits_of(code.read(self.scaled, at, F32, LANES)), code.splat(bits))
            code.store(code.sub(code.load(count), code.sext(is_below, self.whole)), count)
        return code.reduce(code.load(count), code.add)

    def _bits_of(self, scaled: ir.Value) -> ir.Value:
        """The bits of one or more scaled logits without the sign, as whole numbers."""
        whole = self.whole if isinstance(scaled.type, ir.VectorType) else I32
        return self.code.and_(self.code.bitcast(scaled, whole), numbers(whole, 2**31 - 1))
