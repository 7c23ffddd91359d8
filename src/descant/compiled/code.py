"""Writing machine code: a small layer over llvmlite.

Vectors have 32 floats whatever the processor; LLVM cuts them into its registers. Every operation here is one that IEEE
754 defines to the last bit, and sums are added in a fixed order, so all processors get the same bits.
"""

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any, Literal, TypeAlias

import llvmlite.binding as llvm
from llvmlite import ir

F32, F16 = ir.FloatType(), ir.HalfType()
I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
POINTER = ir.PointerType(I8)

Dot: TypeAlias = Literal["vnni", "maddubs", "plain"]

LANES = 32
"""Floats in a vector."""

PREFETCHED_BYTES = 4_096
"""How far ahead weights are asked for. Processors do it by themselves too, but not far enough for small numbers: on a
Xeon products of int8 weights with float32 take 0.52 of the time without it, float16 0.73, float32 0.87."""

SMALLEST_EXP = -87.0
"""Below this exp is so small that float32 can no longer hold it with all its digits."""

LOG2_E, LN2_HIGH, LN2_LOW = 1.4426950408889634, 0.693359375, -2.12194440054690583e-4
"""The logarithm of 2 in two parts, of which the first has few digits: its whole multiples are exact."""

EXP_COEFFICIENTS = (
    *(1.0, 1.0, 0.49999991059303284, 0.16666419804096222, 0.04166822507977486, 0.008374822326004505),
    0.001383683760650456,
)
"""The polynomial nearest to exp between -ln(2) / 2 and ln(2) / 2, up to 1.9e-9."""

LOG_COEFFICIENTS = (
    *(-0.4999998830300031, 0.3333332553029716, -0.25001585537841997, 0.20001983139599244, -0.1660904103600523),
    *(0.14181658973749195, -0.13243123143430802, 0.12905385798376334, -0.07622578170223128),
)
"""The polynomial q for which f + f * f * q(f) is nearest to log(1 + f), from 1 + f = sqrt(1 / 2) to sqrt(2): up to
4.1e-9 of the logarithm."""

ROOT_OF_HALF_BITS = 0x3F3504F3
"""The square root of 1/2 as float32."""


class Word(IntEnum):
    """The place of a 64-bit word among those that a compiled function reads."""

    # Constants are written as their text, which for an IntEnum is the number since Python 3.11 only.
    __str__ = int.__repr__


class Code(ir.IRBuilder):
    """The body of one function."""

    def __init__(self, module: ir.Module, name: str, arguments: Sequence[ir.Type]):
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), arguments), name)
        super().__init__(function.append_basic_block("entry"))

    @contextmanager
    def for_range(self, start: Any, end: Any, step: int = 1) -> Iterator[ir.Value]:
        """A loop over whole numbers; the body may be empty."""
        counter = self.variable(start)
        head, body, done = (self.append_basic_block(name) for name in ("head", "body", "done"))
        self.branch(head)
        self.position_at_end(head)
        self.cbranch(self.icmp_signed("<", self.load(counter), end), body, done)
        self.position_at_end(body)
        yield self.load(counter)
        self.store(self.add(self.load(counter), I64(step)), counter)
        self.branch(head)
        self.position_at_end(done)

    def variable(self, value: ir.Value) -> ir.Value:
        """A variable with a first value; LLVM keeps it in a register."""
        with self.goto_entry_block():
            place = self.alloca(value.type)
        self.store(value, place)
        return place

    def hidden(self, value: ir.Value) -> ir.Value:
        """The value, without LLVM knowing it; it unrolls loops whose length it knows."""
        return self.asm(ir.FunctionType(value.type, [value.type]), "", "=r,0", [value], side_effect=False)

    def address(self, pointer: ir.Value, offset: ir.Value, type: ir.Type) -> ir.Value:
        """The address of an element of an array of ``type``."""
        return self.gep(self.bitcast(pointer, type.as_pointer()), [offset])

    def read(self, pointer: ir.Value, offset: ir.Value, type: ir.Type = F32, lanes: int = 0) -> ir.Value:
        """The element at an offset, or ``lanes`` of them from there on."""
        place = self.address(pointer, offset, type)
        if not lanes:
            return self.load(place)
        value = self.load(self.bitcast(place, ir.VectorType(type, lanes).as_pointer()))
        value.align = 4 if type == F32 else 2 if type == F16 else 1
        return value

    def write(self, value: ir.Value, pointer: ir.Value, offset: ir.Value) -> None:
        """Stores an element, or a vector of them, at an offset."""
        is_vector = isinstance(value.type, ir.VectorType)
        element = value.type.element if is_vector else value.type
        place = self.address(pointer, offset, element)
        if not is_vector:
            self.store(value, place)
            return
        stored = self.store(value, self.bitcast(place, value.type.as_pointer()))
        stored.align = 4 if element == F32 else 2 if element == F16 else 1

    def prefetch(self, pointer: ir.Value) -> None:
        """Asks for memory that is read soon; nothing happens where there is none."""
        self.intrinsic("llvm.prefetch.p0", ir.VoidType(), pointer, I32(0), I32(3), I32(1))

    def pointer_at(self, words: ir.Value, index: int) -> ir.Value:
        """Word ``index`` of an array of 64-bit words, as a pointer."""
        return self.inttoptr(self.read(words, I64(index), I64), POINTER)

    def splat(self, value: ir.Value, lanes: int = LANES) -> ir.Value:
        """A vector that has one value in every place."""
        undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
        places = ir.Constant(ir.VectorType(I32, lanes), [0] * lanes)
        return self.shuffle_vector(self.insert_element(undefined, value, I32(0)), undefined, places)

    def call_llvm(self, name: str, *values: ir.Value) -> ir.Value:
        """One of LLVM's own functions of floats, element by element."""
        type = values[0].type
        suffix = f"v{type.count}f32" if isinstance(type, ir.VectorType) else "f32"
        return self.intrinsic(f"llvm.{name}.{suffix}", type, *values)

    def intrinsic(self, name: str, type: ir.Type, *values: ir.Value) -> ir.Value:
        """A function that LLVM knows by its name, with a result of this type."""
        known = self.module.globals.get(name)
        signature = ir.FunctionType(type, [value.type for value in values])
        return self.call(known or ir.Function(self.module, signature, name), values)

    def fma(self, factor: ir.Value, other: ir.Value, summand: ir.Value) -> ir.Value:
        """factor * other + summand, rounded once."""
        return self.call_llvm("fma", factor, other, summand)

    def part(self, vector: ir.Value, start: int, lanes: int) -> ir.Value:
        """Some neighbouring elements of a vector."""
        places = ir.Constant(ir.VectorType(I32, lanes), [*range(start, start + lanes)])
        return self.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)

    def every(self, vector: ir.Value, first: int, step: int) -> ir.Value:
        """Each element that is ``step`` after another, from the element ``first`` on."""
        places = ir.Constant(ir.VectorType(I32, vector.type.count // step), [*range(first, vector.type.count, step)])
        return self.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), places)

    def reduce(self, vector: ir.Value, combine: Callable[[ir.Value, ir.Value], ir.Value]) -> ir.Value:
        """All elements of a vector combined into one, halves first; an odd one out joins at the end."""
        odd: list[ir.Value] = []
        while (lanes := vector.type.count) > 1:
            if lanes % 2:
                odd.append(self.extract_element(vector, I32(lanes - 1)))
            half = lanes // 2
            vector = combine(self.part(vector, 0, half), self.part(vector, half, half))
        result = self.extract_element(vector, I32(0))
        for element in odd:
            result = combine(result, element)
        return result

    def total(self, vector: ir.Value) -> ir.Value:
        """The sum of a vector's elements."""
        return self.reduce(vector, self.fadd)

    def exp(self, power: ir.Value) -> ir.Value:
        """e to powers of at most 0, within two units in the last place; NaN gives NaN."""
        type = power.type

        def constant(number: float) -> ir.Constant:
            return numbers(type, number)

        # NaN is not below anything, and stays.
        power = self.select(self.fcmp_ordered("<", power, constant(SMALLEST_EXP)), constant(SMALLEST_EXP), power)
        whole = self.call_llvm("rint", self.fmul(power, constant(LOG2_E)))
        rest = self.fma(whole, constant(-LN2_LOW), self.fma(whole, constant(-LN2_HIGH), power))
        result = constant(EXP_COEFFICIENTS[-1])
        for coefficient in EXP_COEFFICIENTS[-2::-1]:
            result = self.fma(result, rest, constant(coefficient))
        whole_type = ir.VectorType(I32, type.count) if isinstance(type, ir.VectorType) else I32
        exponent = self.shl(self.fptosi(whole, whole_type), numbers(whole_type, 23))
        return self.bitcast(self.add(self.bitcast(result, whole_type), exponent), type)

    def log(self, number: ir.Value) -> ir.Value:
        """The natural logarithm of a vector of positive normal floats, within two units in the last place."""
        type = number.type
        whole_type = ir.VectorType(I32, type.count)
        bits = self.bitcast(number, whole_type)
        exponent = self.ashr(self.sub(bits, numbers(whole_type, ROOT_OF_HALF_BITS)), numbers(whole_type, 23))
        mantissa = self.bitcast(self.sub(bits, self.shl(exponent, numbers(whole_type, 23))), type)
        rest = self.fsub(mantissa, numbers(type, 1.0))
        polynomial = numbers(type, LOG_COEFFICIENTS[-1])
        for coefficient in LOG_COEFFICIENTS[-2::-1]:
            polynomial = self.fma(polynomial, rest, numbers(type, coefficient))
        whole = self.sitofp(exponent, type)
        result = self.fma(self.fmul(rest, rest), polynomial, self.fmul(whole, numbers(type, LN2_LOW)))
        return self.fma(whole, numbers(type, LN2_HIGH), self.fadd(rest, result))


def numbers(type: ir.Type, number: float | int) -> ir.Constant:
    """A constant of this type, with the number in every place of a vector."""
    return ir.Constant(type, [number] * type.count) if isinstance(type, ir.VectorType) else ir.Constant(type, number)


@dataclass(frozen=True)
class Target:
    """A kind of processor to compile for.

    Args:
        cpu, features: LLVM's name of it, and of the instructions that it has or lacks.
        num_vectors: how many vectors of 32 floats its registers hold.
        dot: how it multiplies bytes: ``vnni`` adds four products to a 32-bit sum in one instruction, ``maddubs`` (any
            x86 processor with AVX2) two to one of 16 bits, ``plain`` works without either.
    """

    cpu: str
    features: str = ""
    num_vectors: int = 4
    dot: Dot = "maddubs"

    @property
    def all_features(self) -> str:
        """``features``, and that ``vpdpwssd`` stays one instruction: LLVM would cut it in two, which is only faster
        where a single sum waits for itself."""
        return ",".join(filter(None, [self.features, "+fast-dpwssd" if self.dot == "vnni" else ""]))

    @property
    def register_bytes(self) -> int:
        """Bytes of a vector register."""
        return 64 if self.num_vectors >= 16 else 32

    @staticmethod
    @cache
    def host() -> "Target":
        """The processor at hand."""
        features = llvm.get_host_cpu_features()
        is_wide = features.get("avx512bw")
        has_vnni = features.get("avx512vnni" if is_wide else "avxvnni")
        dot: Dot = "vnni" if has_vnni else "maddubs" if features.get("avx2") else "plain"
        return Target(llvm.get_host_cpu_name(), features.flatten(), 16 if is_wide else 4, dot)


@cache
def is_supported() -> bool:
    """Whether this processor multiplies and adds in one rounding and reads float16: all of the last ten years do."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True
    features = llvm.get_host_cpu_features()
    return bool(features.get("fma") and features.get("f16c"))
