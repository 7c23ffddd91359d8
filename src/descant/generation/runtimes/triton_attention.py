"""Attention of one step to a KV cache in two Triton kernels, each row up to a place of its own.

A row has too few heads to keep a GPU busy if each is read from beginning to end by one processor. So the first kernel
attends to chunks of the sequence, all at once, and the second joins them. Chunks behind a row's place are
not read.

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
    new_keys: Float[Tensor, "R H E"],
    new_values: Float[Tensor, "R H E"],
    keys: Float[Tensor, "R H S E"],
    values: Float[Tensor, "R H S E"],
    place: Int[Tensor, " R"],
) -> Float[Tensor, "R H E"]:
    """Writes a new key and value at each row's place, and gives its attention to all places up to it. Sums are in
    float32.

    Args:
        keys: changed; laid out as ``values``, with the places of a head one after another in memory.
    """
    rows, heads, length, head_dim = keys.shape
    num_chunks = triton.cdiv(length, CHUNK)
    head_block = triton.next_power_of_2(head_dim)
    sums = torch.empty(rows, heads, num_chunks, head_dim, dtype=torch.float32, device=keys.device)
    # The largest score of each chunk, and the sum of exp(score - largest).
    norms = torch.empty(rows, heads, num_chunks, 2, dtype=torch.float32, device=keys.device)
    attended = torch.empty(rows, heads, head_dim, dtype=queries.dtype, device=keys.device)
    attend_to_chunk[(num_chunks, heads, rows)](
        queries,
        new_keys,
        new_values,
        keys,
        values,
        place,
        sums,
        norms,
        *queries.stride()[:2],
        *new_keys.stride()[:2],
        *new_values.stride()[:2],
        *keys.stride()[:2],
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
    new_keys_at,
    new_values_at,
    keys_at,
    values_at,
    place_at,
    sums_at,
    norms_at,
    query_row,
    query_head,
    new_key_row,
    new_key_head,
    new_value_row,
    new_value_head,
    cache_row,
    cache_head,
    length,
    scale,
    HEAD_DIM: tl.constexpr,
    HEAD_BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """The attention of one head of one row to one chunk, not yet divided by its sum of weights.

    ``*_row`` and ``*_head`` are strides.
    """
    chunk, head, row = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    element = tl.arange(0, HEAD_BLOCK)
    is_element = element < HEAD_DIM
    query = tl.load(queries_at + row * query_row + head * query_head + element, mask=is_element, other=0.0)
    new_key = tl.load(new_keys_at + row * new_key_row + head * new_key_head + element, mask=is_element, other=0.0)
    new_value = tl.load(
        new_values_at + row * new_value_row + head * new_value_head + element, mask=is_element, other=0.0
    )
    # 64 bits: a large cache has more elements than 32 can count.
    start = row.to(tl.int64) * cache_row + head.to(tl.int64) * cache_head
    last = tl.load(place_at + row)
    place = chunk * CHUNK + tl.arange(0, CHUNK)
    is_new = (place == last)[:, None]
    # Only this program reads the new place, so it need not wait for what it writes there.
    own = is_element & (last // CHUNK == chunk)
    tl.store(keys_at + start + last * HEAD_DIM + element, new_key, mask=own)
    tl.store(values_at + start + last * HEAD_DIM + element, new_value, mask=own)
    is_seen = (place <= last) & (place < length)
    is_read = is_seen[:, None] & is_element[None, :] & ~is_new
    cells = start + place[:, None] * HEAD_DIM + element[None, :]
    keys = tl.where(is_new, new_key[None, :], tl.load(keys_at + cells, mask=is_read, other=0.0)).to(tl.float32)
    values = tl.where(is_new, new_value[None, :], tl.load(values_at + cells, mask=is_read, other=0.0)).to(tl.float32)
    scores = tl.where(is_seen, tl.sum(keys * query.to(tl.float32)[None, :], axis=1) * scale, -float("inf"))
    # Finite for a chunk behind the row's place, whose weights are all zero.
    largest = tl.maximum(tl.max(scores, axis=0), -1.0e30)
    weights = tl.exp(scores - largest)
    cell = (row * tl.num_programs(1) + head) * tl.num_programs(0) + chunk
    tl.store(sums_at + cell * HEAD_DIM + element, tl.sum(weights[:, None] * values, axis=0), mask=is_element)
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
