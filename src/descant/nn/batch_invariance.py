"""Matrix products in which a row has the same bits whatever other rows share the batch.

Codes are drawn from logits, so one bit can change the music; and a request must give the same codes alone and in any
batch. But a library of matrix products picks its kernel by the number of rows, and kernels may add in different orders:

- FBGEMM's float16 product on AVX2 (AMD EPYC): heights 1, 2, 7, 14, 31, 32 and others that end in a group of one or two
  rows differ from the rest; on AVX-512 all heights agree.
- MKL's float32 product: on one Xeon 4 rows agree with 32; on another (AMX) 2 to 8 rows agree, and 16 to 64, but not
  these with those; on AMD EPYC from 4 on.
- oneDNN's packed float32 product: every height from 1 to 64 agreed on all of them.

No list of heights holds everywhere, so each product is measured on the processor at hand, once for each shape, and used
at heights that agree. `tests/nn/test_batch_invariance.py` watches it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from descant.threads import threads_of_caller

Product: TypeAlias = Callable[[Tensor], Tensor]
"""Multiplies the rows [B 1 i] of one decoding step with a weight: [B 1 o]."""

FEWEST_ROWS = 2
"""A batch is filled up to a power of two of rows, at least these: one request with guidance."""

BASE_HEIGHT = 4
LOW_HEIGHTS = (2, 3)
HIGH_HEIGHTS = (8, 16, 32)
PROBE_ROWS = 96


@dataclass(frozen=True)
class Heights:
    """The numbers of rows at which a product gives a row the same bits: from ``smallest`` to ``largest``, among those
    that are 2, 3 or a power of two."""

    smallest: int
    largest: int

    def multiply(self, product: Product, rows: Float[Tensor, "B 1 i"]) -> Float[Tensor, "B 1 o"]:
        """The product, with fewer rows filled up by zeros and more rows multiplied in blocks."""
        if len(rows) > self.largest:
            return torch.cat([product(block) for block in rows.split(self.largest)])
        if len(rows) < self.smallest:
            return product(F.pad(rows, (0, 0, 0, 0, 0, self.smallest - len(rows))))[: len(rows)]
        return product(rows)


def measure_heights(product: Product, width: int, dtype: torch.dtype = torch.float32, num_threads: int = 1) -> Heights:
    """At which heights the product agrees with itself on this processor, tried on random rows of ``width`` values.

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


def _in_blocks(product: Product, rows: Float[Tensor, "B 1 i"], height: int, num_threads: int) -> Float[Tensor, "B 1 o"]:
    with threads_of_caller(num_threads):
        return torch.cat([product(block) for block in rows.split(height)])
