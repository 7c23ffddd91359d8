"""What makes a row's bits the same whatever other rows share the batch: every number of it, and why.

Codes are drawn from logits, so one bit can change the music; and a request must give the same codes alone and in any
batch. But a library of matrix products picks its kernel by the shape and the placement of its matrices, and kernels
may add in different orders. So conditions and the whole chunks of prompts are read one row at a time
(`runtimes/packed_cpu.py`; watched by tests/generation/runtimes/test_runtimes.py), and decoding steps keep to the shapes
below.

No list of heights (numbers of rows) holds everywhere:

- FBGEMM's float16 product on AVX2 (AMD EPYC): heights 1, 2, 7, 14, 31, 32 and others that end in a group of one or two
  rows differ from the rest; on AVX-512 all heights agree.
- MKL's float32 product: on one Xeon 4 rows agree with 32; on another (AMX) 2 to 8 rows agree, and 16 to 64, but not
  these with those; on AMD EPYC from 4 on.
- oneDNN's packed float32 product: every height from 1 to 64 agreed on all of them.

Each product is therefore measured on the processor at hand, once for each shape, and used at heights that agree
(watched by tests/generation/test_batch_invariance.py). This covers float32 and bfloat16; in float16 a row's last bits
may still depend on the batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant.threads import threads_of_caller

FEWEST_ROWS = 2
"""A batch is padded to a power of two of rows, at least this many: one request with guidance. The heights of products
are measured at these numbers only. Watched by tests/generation/test_batch_invariance.py."""

PREFILL_STEPS = 16
"""A prompt is read in chunks of this many steps, the rest of it step by step. A product of another height may give
other bits, and a recorded request must give the same codes in later versions; and chunks bound the memory of a long
prompt's logits. Watched by tests/generation/runtimes/test_runtimes.py."""

CONDITION_STEPS = 64
"""Text conditions are padded to a multiple of this, so that requests with short texts can share a batch, and a row's
attention sums over the same number of positions in any batch. Watched by tests/generation/test_decode.py."""

CACHE_STEPS = 4
"""The length of a KV cache is a multiple of this: products round differently for matrices that are placed differently
in memory, and every head's keys must be placed as in a cache of another length. Watched by
tests/generation/runtimes/test_runtimes.py."""

BASE_HEIGHT = 4
"""The number of rows that all other heights must agree with."""

LOW_HEIGHTS = (2, 3)
HIGH_HEIGHTS = (8, 16, 32)
PROBE_ROWS = 96

Product: TypeAlias = Callable[[Tensor], Tensor]
"""Multiplies the rows [B 1 I] of one decoding step with a weight: [B 1 O]."""


def padded_rows(num_rows: int) -> int:
    """The number of rows that a batch is padded to."""
    return max(FEWEST_ROWS, 1 << (num_rows - 1).bit_length())


def padding_to_multiple(length: int, multiple: int) -> int:
    """How much is missing from a length to the next multiple."""
    return -length % multiple


@dataclass(frozen=True)
class Heights:
    """The numbers of rows at which a product gives a row the same bits: from ``smallest`` to ``largest``, among those
    that are 2, 3 or a power of two."""

    smallest: int
    largest: int

    def multiply(self, product: Product, rows: Float[Tensor, "B 1 I"]) -> Float[Tensor, "B 1 O"]:
        """The product; fewer rows are padded with zeros, more rows are multiplied in blocks."""
        if len(rows) > self.largest:
            return torch.cat([product(block) for block in rows.split(self.largest)])
        if len(rows) < self.smallest:
            return product(F.pad(rows, (0, 0, 0, 0, 0, self.smallest - len(rows))))[: len(rows)]
        return product(rows)


def measure_heights(product: Product, width: int, dtype: torch.dtype = torch.float32, num_threads: int = 1) -> Heights:
    """The heights at which the product agrees with itself on this processor, tried on random rows of ``width`` values.

    A product that does not even agree at four rows, each in any place, is used one row at a time.

    Args:
        num_threads: the heights hold for one thread and for this many.
    """
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(PROBE_ROWS, 1, width, generator=generator, dtype=torch.float32).to(dtype)
    counts = sorted({1, num_threads})
    expected = {count: _in_blocks(product, rows, BASE_HEIGHT, count) for count in counts}

    def agrees(height: int) -> bool:
        # In the first place of a block, and moved by one: a kernel may treat its last rows in another way.
        return all(
            torch.equal(_in_blocks(product, rows.roll(shift, 0), height, count), expected[count].roll(shift, 0))
            for count in counts
            for shift in (0, 1)
        )

    if not agrees(BASE_HEIGHT):
        return Heights(1, 1)
    largest = BASE_HEIGHT
    for height in HIGH_HEIGHTS:
        if not agrees(height):
            break
        largest = height
    return Heights(next((height for height in LOW_HEIGHTS if agrees(height)), BASE_HEIGHT), largest)


def _in_blocks(product: Product, rows: Float[Tensor, "B 1 I"], height: int, num_threads: int) -> Float[Tensor, "B 1 O"]:
    with threads_of_caller(num_threads):
        return torch.cat([product(block) for block in rows.split(height)])
