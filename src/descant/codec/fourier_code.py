"""Compiled Fourier transforms of many windows side by side: each lane of a vector belongs to another window.

So there are no shuffles, each window has the same bits in any company, and on any processor. A transform of N complex
numbers is a pass of radix 8 over all of them, then eight transforms of N / 8, small enough for a processor's fastest
cache. Numbers stay where they are calculated: the spectrum is in the order of the frequency's digits, reversed, and the
way back starts from that order.

Row 2 n of the memory holds the real parts of element n, row 2 n + 1 the imaginary parts; a row is a vector.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from jaxtyping import Float
from llvmlite import ir

from descant.compiled.code import F32, I64, Code, numbers

Complex: TypeAlias = tuple[ir.Value, ir.Value]
"""Real and imaginary parts of a number in each lane."""

FIRST_RADIX = 8


@dataclass(frozen=True)
class Plan:
    """How N complex numbers are transformed.

    Args:
        size: N, a power of two from 16 on.
    """

    size: int

    @property
    def radices(self) -> list[int]:
        """Of the passes, in the order of the way to the spectrum."""
        radices, left = [FIRST_RADIX], self.size // FIRST_RADIX
        while left > 1:
            radices.append(left if left <= 8 else 4 if left == 16 else 8)
            left //= radices[-1]
        return radices

    def place(self, frequency: int) -> int:
        """The element of the spectrum that has this frequency."""
        place, span = 0, self.size
        for radix in self.radices:
            span //= radix
            place += frequency % radix * span
            frequency //= radix
        return place

    def twiddles(self) -> Float[np.ndarray, "n 2"]:
        """exp(-2 pi i j q / n) for each pass but the last, of n elements and radix R: for each j below n / R those of
        q from 1 to R - 1."""
        tables, span = [], self.size
        for radix in self.radices[:-1]:
            angles = -2 * np.pi / span * np.outer(np.arange(span // radix), np.arange(1, radix))
            tables.append(np.stack([np.cos(angles), np.sin(angles)], axis=-1).reshape(-1, 2))
            span //= radix
        return np.concatenate(tables).astype(np.float32)

    def twiddles_at(self, index: int) -> int:
        """Where the table of a pass begins, in numbers."""
        start, span = 0, self.size
        for radix in self.radices[:index]:
            start += 2 * (span // radix) * (radix - 1)
            span //= radix
        return start


class FourierCode:
    """The code of transforms within one function.

    Args:
        data: where the rows are.
        twiddles: where ``Plan.twiddles`` are.
        lanes: of a row.
    """

    def __init__(self, code: Code, plan: Plan, data: ir.Value, twiddles: ir.Value, lanes: int) -> None:
        self.code, self.plan, self.data, self.table, self.lanes = code, plan, data, twiddles, lanes

    def read(self, element: ir.Value) -> Complex:
        """An element of the memory."""
        at = self.code.mul(element, I64(2 * self.lanes))
        return (
            self.code.read(self.data, at, F32, self.lanes),
            self.code.read(self.data, self.code.add(at, I64(self.lanes)), F32, self.lanes),
        )

    def write(self, number: Complex, element: ir.Value) -> None:
        """Stores an element."""
        at = self.code.mul(element, I64(2 * self.lanes))
        self.code.write(number[0], self.data, at)
        self.code.write(number[1], self.data, self.code.add(at, I64(self.lanes)))

    def first_pass(self, read: Callable[[ir.Value], Complex]) -> None:
        """The first pass, over elements that come from elsewhere."""
        self._forward(0, self.plan.size, I64(0), read)

    def rest(self, start: ir.Value) -> None:
        """The other passes, over one of the eight transforms, which begins with this element."""
        span = self.plan.size // FIRST_RADIX
        for index, radix in enumerate(self.plan.radices[1:], start=1):
            with self.code.for_range(I64(0), I64(self.plan.size // FIRST_RADIX), span) as at:
                self._forward(index, span, self.code.add(start, at), self.read)
            span //= radix

    def rest_back(self, start: ir.Value) -> None:
        """The way back of ``rest``."""
        span = 1
        for index, radix in reversed([*enumerate(self.plan.radices)][1:]):
            span *= radix
            with self.code.for_range(I64(0), I64(self.plan.size // FIRST_RADIX), span) as at:
                self._backward(index, span, self.code.add(start, at))

    def first_pass_back(self) -> None:
        """The way back of ``first_pass``: the result is N times as large, in its own order."""
        self._backward(0, self.plan.size, I64(0))

    def _forward(self, index: int, span: int, start: ir.Value, read: Callable[[ir.Value], Complex]) -> None:
        radix = self.plan.radices[index]
        step, is_last = span // radix, index == len(self.plan.radices) - 1
        with self.code.for_range(I64(0), I64(step)) as j:
            first = self.code.add(start, j)
            places = [self.code.add(first, I64(part * step)) for part in range(radix)]
            for part, number in enumerate(transform(self.code, [read(place) for place in places], back=False)):
                turned = number if part == 0 or is_last else self.times(number, self._twiddle(index, j, part), 1)
                self.write(turned, places[part])

    def _backward(self, index: int, span: int, start: ir.Value) -> None:
        radix = self.plan.radices[index]
        step, is_last = span // radix, index == len(self.plan.radices) - 1
        with self.code.for_range(I64(0), I64(step)) as j:
            first = self.code.add(start, j)
            places = [self.code.add(first, I64(part * step)) for part in range(radix)]
            turned = [
                number if part == 0 or is_last else self.times(number, self._twiddle(index, j, part), -1)
                for part, number in enumerate(map(self.read, places))
            ]
            for number, place in zip(transform(self.code, turned, back=True), places, strict=True):
                self.write(number, place)

    def _twiddle(self, index: int, j: ir.Value, part: int) -> Complex:
        radix = self.plan.radices[index]
        at = self.code.add(self.code.mul(j, I64(2 * (radix - 1))), I64(self.plan.twiddles_at(index) + 2 * (part - 1)))
        return self.scalar(self.table, at)

    def scalar(self, table: ir.Value, at: ir.Value) -> Complex:
        """A number of a table, the same in every lane."""
        code = self.code
        one, other = code.read(table, at), code.read(table, code.add(at, I64(1)))
        return code.splat(one, self.lanes), code.splat(other, self.lanes)

    def times(self, number: Complex, factor: Complex, sign: int) -> Complex:
        """A product with a number, or with its conjugate if the sign is -1."""
        code = self.code
        (a, b), (c, d) = number, factor
        across, along = code.fmul(b, d), code.fmul(a, d)
        if sign > 0:
            return code.fma(a, c, code.fneg(across)), code.fma(b, c, along)
        return code.fma(a, c, across), code.fma(b, c, code.fneg(along))


def transform(code: Code, elements: Sequence[Complex], *, back: bool) -> list[Complex]:
    """The Fourier transform of a few numbers in registers, or N times its inverse."""
    if len(elements) == 1:
        return [*elements]
    even, odd = (transform(code, elements[part::2], back=back) for part in (0, 1))
    results = [
        _combine(code, one, other, index / len(elements), back)
        for index, (one, other) in enumerate(zip(even, odd, strict=True))
    ]
    return [sum_ for sum_, _ in results] + [difference for _, difference in results]


def _combine(code: Code, even: Complex, odd: Complex, turn: float, back: bool) -> tuple[Complex, Complex]:
    """even + w odd and even - w odd, where w turns back by this part of a circle, or forward on the way ``back``."""
    a, b = odd
    if turn == 0.25:
        a, b = (code.fneg(b), a) if back else (b, code.fneg(a))
    elif turn:
        cosine, sine = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn) * (1 if back else -1)
        if turn in (0.125, 0.375):
            # Both parts of w are as large: one product for each result.
            real = code.fsub(a, b) if cosine * sine > 0 else code.fadd(a, b)
            imaginary = code.fadd(a, b) if cosine * sine > 0 else code.fsub(b, a)
            root = numbers(a.type, cosine)
            minus = numbers(a.type, -cosine)
            return (
                (code.fma(real, root, even[0]), code.fma(imaginary, root, even[1])),
                (code.fma(real, minus, even[0]), code.fma(imaginary, minus, even[1])),
            )
        c, s = numbers(a.type, cosine), numbers(a.type, sine)
        a, b = code.fma(a, c, code.fneg(code.fmul(b, s))), code.fma(b, c, code.fmul(a, s))
    return (code.fadd(even[0], a), code.fadd(even[1], b)), (code.fsub(even[0], a), code.fsub(even[1], b))
