"""Attention of one step to a KV cache in two Triton kernels, each row up to a position of its own.

A row has too few heads to keep a GPU busy if each is read from beginning to end by one processor. So the first kernel
attends to chunks of the sequence, all at once, and the second joins them. Chunks behind a row's position are not read.

Imported only where Triton is installed.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Int
from torch import Tensor

CHUNK = 128


def attend(
    queries: Float[Tensor, "R H E"],
    keys: Float[Tensor, "R H S E"],
    values: Float[Tensor, "R H S E"],
    last: Int[Tensor, " R"],
) -> Float[Tensor, "R H E"]:
    """Each row's attention to its positions up to ``last``; sums are in float32.

    Args:
        keys: with the layout of ``values``; the positions of a head follow each other in memory.
    """
    rows, heads, length, head_dim = keys.shape
    num_chunks = triton.cdiv(length, CHUNK)
    head_block = triton.next_power_of_2(head_dim)
    sums = torch.empty(rows, heads, num_chunks, head_dim, dtype=torch.float32, device=keys.device)
    # The largest score of each chunk, and the sum of exp(score - largest).
    norms = torch.empty(rows, heads, num_chunks, 2, dtype=torch.float32, device=keys.device)
    attended = torch.empty(rows, heads, head_dim, dtype=queries.dtype, device=keys.device)
    queries = queries.contiguous()
    attend_to_chunk[(num_chunks, heads, rows)](
        queries,
        keys,
        values,
        last,
        sums,
        norms,
        keys.stride(0),
        keys.stride(1),
        length,
        head_dim**-0.5,
        HEAD_DIM=head_dim,
        HEAD_BLOCK=head_block,
        CHUNK=CHUNK,
        num_warps=4,
    )
    join_chunks[(heads, rows)](
        sums,
        norms,
        attended,
        num_chunks,
        HEAD_DIM=head_dim,
        HEAD_BLOCK=head_block,
        CHUNK_BLOCK=triton.next_power_of_2(num_chunks),
        num_warps=1,
    )
    return attended


# Triton reads annotations as types of its own.
@triton.jit  # type: ignore[untyped-decorator]
def attend_to_chunk(  # type: ignore[no-untyped-def]
    queries_at,
    keys_at,
    values_at,
    last_at,
    sums_at,
    norms_at,
    row_stride,
    head_stride,
    length,
    scale,
    HEAD_DIM: tl.constexpr,
    HEAD_BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """The attention of one head of one row to one chunk, not yet divided by its sum of weights."""
    chunk, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    place = chunk * CHUNK + tl.arange(0, CHUNK)
    element = tl.arange(0, HEAD_BLOCK)
    is_seen = (place <= tl.load(last_at + row)) & (place < length)
    is_there = is_seen[:, None] & (element[None, :] < HEAD_DIM)
    which = row * tl.num_programs(1) + head
    query = tl.load(queries_at + which * HEAD_DIM + element, mask=element < HEAD_DIM, other=0.0).to(tl.float32)
    # 64 bits: a large cache has more elements than 32 can count.
    start = row.to(tl.int64) * row_stride + head.to(tl.int64) * head_stride
    cells = start + place[:, None] * HEAD_DIM + element[None, :]
    keys = tl.load(keys_at + cells, mask=is_there, other=0.0).to(tl.float32)
    values = tl.load(values_at + cells, mask=is_there, other=0.0).to(tl.float32)
    scores = tl.where(is_seen, tl.sum(keys * query[None, :], axis=1) * scale, -float("inf"))
    # Finite for a chunk behind the row's position, whose weights are all zero.
    largest = tl.maximum(tl.max(scores, axis=0), -1.0e30)
    weights = tl.exp(scores - largest)
    cell = which * tl.num_programs(0) + chunk
    tl.store(sums_at + cell * HEAD_DIM + element, tl.sum(weights[:, None] * values, axis=0), mask=element < HEAD_DIM)
    tl.store(norms_at + 2 * cell, largest)
    tl.store(norms_at + 2 * cell + 1, tl.sum(weights, axis=0))


@triton.jit  # type: ignore[untyped-decorator]
def join_chunks(  # type: ignore[no-untyped-def]
    sums_at,
    norms_at,
    attended_at,
    num_chunks,
    HEAD_DIM: tl.constexpr,
    HEAD_BLOCK: tl.constexpr,
    CHUNK_BLOCK: tl.constexpr,
):
    """The attention of one head of one row to all chunks."""
    which = tl.program_id(1) * tl.num_programs(0) + tl.program_id(0)
    chunk = tl.arange(0, CHUNK_BLOCK)
    element = tl.arange(0, HEAD_BLOCK)
    is_chunk = chunk < num_chunks
    cell = which * num_chunks + chunk
    largest = tl.load(norms_at + 2 * cell, mask=is_chunk, other=-1.0e30)
    weight_sums = tl.load(norms_at + 2 * cell + 1, mask=is_chunk, other=0.0)
    factors = tl.exp(largest - tl.max(largest, axis=0))
    is_there = is_chunk[:, None] & (element[None, :] < HEAD_DIM)
    sums = tl.load(sums_at + cell[:, None] * HEAD_DIM + element[None, :], mask=is_there, other=0.0)
    attended = tl.sum(sums * factors[:, None], axis=0) / tl.sum(weight_sums * factors, axis=0)
    tl.store(
        attended_at + which * HEAD_DIM + element, attended.to(attended_at.dtype.element_ty), mask=element < HEAD_DIM
    )
