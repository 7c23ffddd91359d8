"""Conditions as tensors."""

import pytest
import torch

from descant.errors import InvalidRequest
from descant.nn.inputs import LMInputs


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


def test_rows_are_taken_in_the_order_asked_for():
    cross = torch.randn(3, 2, 4)
    rows = LMInputs(cross, sum=torch.arange(3.0).reshape(3, 1, 1).expand(3, 1, 4)).rows(torch.tensor([2, 0]))
    assert torch.equal(rows.cross, cross[[2, 0]])
    assert rows.sum[:, 0, 0].tolist() == [2.0, 0.0]
    assert rows.cross_mask is None


@pytest.mark.parametrize("changed", [None, "cross", "cross_mask", "prefix", "sum", "output"])
def test_rows_are_equal_if_all_their_conditions_are(changed):
    mask = torch.ones(3, 2, dtype=torch.bool)
    inputs = {name: torch.zeros(3, 2, 4) for name in ("cross", "prefix", "sum", "output")} | {"cross_mask": mask}
    inputs["output"] = inputs["output"][:, :1]
    if changed is not None:
        inputs[changed][2] = 0.5 if changed != "cross_mask" else False
    assert LMInputs(**inputs).has_equal_rows(0, 1)
    assert LMInputs(**inputs).has_equal_rows(0, 2) == (changed is None)


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
