"""Conditions as tensors."""

import pytest
import torch

from descant.errors import InvalidRequest
from descant.nn.inputs import LMInputs, stack_rows


def test_masked_values_are_never_read():
    values = torch.full((2, 3, 4), float("nan"))
    values[0, :2] = 1.0
    context = LMInputs(values, torch.tensor([[True, True, False], [False] * 3])).context()
    assert context.values[0, :2].eq(1).all()
    assert context.values[0, 2:].eq(0).all()
    assert context.values[1].eq(0).all()
    assert context.mask[:, 0, 0].tolist() == [[True, True, False], [True] * 3]


def test_without_a_mask_everything_is_read():
    values = torch.randn(2, 3, 4)
    context = LMInputs(values).context()
    assert torch.equal(context.values, values)
    assert context.mask.all()


def test_rows_of_stacked_inputs_are_the_inputs():
    first = LMInputs(
        torch.randn(1, 2, 4), torch.ones(1, 2, dtype=torch.bool), torch.randn(1, 3, 4), torch.randn(1, 1, 4)
    )
    second = LMInputs(torch.randn(2, 5, 4), None, torch.randn(2, 3, 4), torch.randn(2, 1, 4))
    both = stack_rows([first, second])
    assert both.cross.shape == (3, 5, 4)
    assert both.cross_mask.tolist() == [[True] * 2 + [False] * 3, [True] * 5, [True] * 5]
    back = both.rows(torch.tensor([2, 0]))
    assert torch.equal(back.cross, torch.stack([second.cross[1], both.cross[0]]))
    assert torch.equal(back.prefix[1], first.prefix[0])
    assert torch.equal(back.sum[0], second.sum[1])
    assert stack_rows([LMInputs(), LMInputs()]) == LMInputs()


def test_sums_of_different_lengths_are_followed_by_zeros_and_one_vector_is_repeated():
    first, second, third = (torch.randn(1, steps, 4) for steps in (5, 3, 1))
    both = stack_rows([LMInputs(sum=first), LMInputs(sum=second), LMInputs(sum=third)]).sum
    assert torch.equal(both[0], first[0])
    assert torch.equal(both[1], torch.cat([second[0], torch.zeros(2, 4)]))
    assert torch.equal(both[2], third[0].expand(5, 4))


def test_a_condition_that_only_some_rows_have_is_refused():
    with pytest.raises(InvalidRequest, match="1 of 2"):
        stack_rows([LMInputs(prefix=torch.zeros(1, 2, 4)), LMInputs()])


def test_a_mask_without_values_is_refused():
    with pytest.raises(InvalidRequest, match="cross_mask"):
        LMInputs(cross_mask=torch.ones(1, 2, dtype=torch.bool))


def test_moved_inputs_keep_boolean_masks():
    inputs = LMInputs(
        torch.randn(1, 2, 4), torch.ones(1, 2, dtype=torch.bool), torch.randn(1, 3, 4), torch.randn(1, 1, 4)
    )
    moved = inputs.to(torch.device("cpu"), torch.bfloat16)
    assert moved.cross.dtype == moved.prefix.dtype == moved.sum.dtype == torch.bfloat16
    assert moved.cross_mask.dtype == torch.bool
