"""Attention of a single step, multiplied out: that of PyTorch, and a row's bits are its own."""

import pytest
import torch
from torch.nn import functional as F

from descant.generation.runtimes.step_attention import StepContext, cross_attend, inverse_rms, self_attend
from descant.nn.inputs import Context

QUERIES, KEYS, VALUES = torch.randn(16, 4, 1, 64), torch.randn(16, 4, 100, 64), torch.randn(16, 4, 100, 64)
MASK = (torch.rand(16, 1, 1, 100) > 0.3).index_fill(3, torch.tensor([0]), True)


def attend(queries, keys, values, mask):
    """Multiplied out, with the mask of conditions if there is one."""
    scaled = queries * queries.shape[-1] ** -0.5
    if mask is None:
        return self_attend(scaled, keys, values)
    context = Context(torch.zeros(len(keys), keys.shape[2], 1), mask)
    return cross_attend(scaled, StepContext.of(keys, values, context))


@pytest.mark.parametrize("mask", [None, MASK], ids=["self", "cross"])
def test_a_single_step_attends_as_torch_does(mask):
    expected = F.scaled_dot_product_attention(QUERIES, KEYS, VALUES, attn_mask=mask)
    attended = attend(QUERIES, KEYS, VALUES, mask)
    torch.testing.assert_close(attended, expected.reshape(16, 1, 4 * 64))


@pytest.mark.parametrize("mask", [None, MASK], ids=["self", "cross"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_single_step_gives_a_row_the_same_bits_in_any_batch(threads, mask):
    """Torch's kernel did not on two threads: one request's codes changed with another that ran in its batch."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = attend(QUERIES, KEYS, VALUES, mask)
        for rows in ([3], [9, 2], [5, 4, 3, 2], [15, 0, 7, 1, 8, 2, 9, 3]):
            part = attend(QUERIES[rows], KEYS[rows], VALUES[rows], None if mask is None else mask[rows])
            assert torch.equal(part, whole[rows])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("width", [8, 12, 64])
def test_the_factor_of_the_norm_is_that_of_torch(width):
    vectors = torch.randn(3, 5, width)
    torch.testing.assert_close(vectors * inverse_rms(vectors), F.rms_norm(vectors, (width,), eps=1e-6))
