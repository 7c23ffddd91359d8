"""The KV cache: how the keys and values of a head are kept.

They lie in blocks of 64 positions: keys coordinate after coordinate, so that 64 scores are summed at once, values
position after position. In int8 each position of a head has a scale of its own, behind the numbers of its block: it
does not depend on other positions, and later ones change nothing that was written.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from llvmlite import ir

from descant.compiled.code import F32, I8, I32, I64, Code, numbers
from descant.generation.runtimes.native.packing import PackedFormat

CacheFormat: TypeAlias = Literal["fp32", "int8"]

BLOCK = 64
"""Positions in a block."""

LARGEST = 127
"""The largest number in int8; the other side's last one is not used."""

LINE_BYTES = 64
"""Memory comes in lines of this size on most processors."""


def cache_format_for(weights: set[PackedFormat]) -> CacheFormat:
    """The format of keys and values next to weights in these formats: one whose rounding changes the logits far less
    than that of the weights. Weights that are kept as they were trained have a cache that rounds nothing."""
    return "int8" if weights <= {"int8", "w8a8", "w4a8"} else "fp32"


@dataclass(frozen=True)
class CacheLayout:
    """The memory of the keys of a head, and that of its values: both are equally large."""

    format: CacheFormat
    head_dim: int

    @property
    def type(self) -> ir.Type:
        """Of the numbers."""
        return I8 if self.format == "int8" else F32

    @property
    def number_bytes(self) -> int:
        """Bytes of a number."""
        return 1 if self.format == "int8" else 4

    @property
    def scales_at(self) -> int:
        """The bytes of a block before its scales."""
        return BLOCK * self.head_dim * self.number_bytes

    @property
    def block_bytes(self) -> int:
        """Bytes of a block."""
        return self.scales_at + (4 * BLOCK if self.format == "int8" else 0)

    def head_bytes(self, num_positions: int) -> int:
        """Bytes of a head."""
        return -(-num_positions // BLOCK) * self.block_bytes


class CacheCode:
    """The code that reads and writes the keys, or the values, of a head.

    Args:
        start: where they begin.
    """

    def __init__(self, code: Code, layout: CacheLayout, start: ir.Value) -> None:
        self.code, self.layout, self.start = code, layout, start

    def block(self, index: ir.Value) -> ir.Value:
        """Where a block begins."""
        return self.code.gep(self.start, [self.code.mul(index, I64(self.layout.block_bytes))])

    def write_keys(self, position: ir.Value, keys: ir.Value) -> None:
        """Keys of a position."""
        code, (stored, block, place) = self.code, self._store_scale(position, keys)
        for coordinate in range(self.layout.head_dim):
            element = code.extract_element(stored, I32(coordinate))
            code.write(element, block, code.add(place, I64(BLOCK * coordinate)))

    def write_values(self, position: ir.Value, values: ir.Value) -> None:
        """Values of a position."""
        stored, block, place = self._store_scale(position, values)
        self.code.write(stored, block, self.code.mul(place, I64(self.layout.head_dim)))

    def keys(self, block: ir.Value, coordinate: ir.Value) -> ir.Value:
        """One coordinate of all positions of a block, without their scales."""
        return self._floats(block, self.code.mul(coordinate, I64(BLOCK)), BLOCK)

    def values(self, block: ir.Value, place: ir.Value) -> ir.Value:
        """The values of one position of a block, without their scale."""
        size = self.layout.head_dim
        return self._floats(block, self.code.mul(place, I64(size)), size)

    def scaled(self, vector: ir.Value, block: ir.Value) -> ir.Value:
        """A number for each position of a block, times the scale of the position."""
        if self.layout.format == "fp32":
            return vector
        return self.code.fmul(vector, self.code.read(self._scales(block), I64(0), F32, BLOCK))

    def prefetch(self, block: ir.Value, index: ir.Value, num_parts: int, num_positions: ir.Value) -> None:
        """Asks for one of so many equal parts of a block, as far as it lies in the first positions.

        Args:
            num_positions: of values that are read; all of keys' blocks is read.
        """
        code, layout = self.code, self.layout
        part = -(-layout.scales_at // num_parts)
        end = code.mul(num_positions, I64(layout.head_dim * layout.number_bytes))
        for line in range(0, part, LINE_BYTES):
            at = code.add(code.mul(index, I64(part)), I64(line))
            code.prefetch(code.gep(block, [code.select(code.icmp_signed("<", at, end), at, I64(0))]))

    def _store_scale(self, position: ir.Value, vector: ir.Value) -> Sequence[ir.Value]:
        """The numbers to be stored for a vector, its block, and its place there; the scale is stored."""
        code = self.code
        block, place = self.block(code.sdiv(position, I64(BLOCK))), code.srem(position, I64(BLOCK))
        if self.layout.format == "fp32":
            return vector, block, place
        # Unlike maxnum, maximum gives NaN if there is one, and a scale that is NaN spoils the result as it should.
        largest = code.reduce(
            code.call_llvm("fabs", vector), lambda left, right: code.call_llvm("maximum", left, right)
        )
        scale = code.fmul(largest, F32(1 / LARGEST))
        code.write(scale, self._scales(block), place)
        is_there = code.fcmp_ordered(">", scale, F32(0.0))
        divided = code.fdiv(vector, code.splat(code.select(is_there, scale, F32(1.0)), vector.type.count))
        rounded = code.call_llvm("rint", divided)
        # Only numbers that are not finite are beyond; an integer of them is undefined.
        is_small = code.fcmp_ordered("<=", code.call_llvm("fabs", rounded), numbers(vector.type, LARGEST + 0.5))
        rounded = code.select(is_small, rounded, numbers(vector.type, 0.0))
        return code.fptosi(rounded, ir.VectorType(I8, vector.type.count)), block, place

    def _scales(self, block: ir.Value) -> ir.Value:
        return self.code.gep(block, [I64(self.layout.scales_at)])

    def _floats(self, block: ir.Value, at: ir.Value, lanes: int) -> ir.Value:
        vector = self.code.read(block, at, self.layout.type, lanes)
        return vector if self.layout.format == "fp32" else self.code.sitofp(vector, ir.VectorType(F32, lanes))
