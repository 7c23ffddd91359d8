"""The linear layer for few rows."""

import pytest
import torch
from torch.nn import functional as F

from descant.nn.linear import FEW_ROWS, Linear, linear


@pytest.mark.parametrize("shape", [(1,), (2,), (2, 1), (4, 1), (FEW_ROWS + 1,), (2, 3), (0,)], ids=str)
def test_few_rows_and_many_give_what_torch_gives(shape):
    rows, weight = torch.randn(*shape, 24), torch.randn(10, 24)
    ours = linear(rows, weight)
    assert ours.is_contiguous()
    torch.testing.assert_close(ours, F.linear(rows, weight), rtol=0, atol=1e-5)


def test_gradients_are_those_of_torch():
    layer, rows = Linear(6, 5), torch.randn(2, 6, requires_grad=True)
    ours = torch.autograd.grad(layer(rows).square().sum(), [rows, layer.weight])
    theirs = torch.autograd.grad(F.linear(rows, layer.weight).square().sum(), [rows, layer.weight])
    torch.testing.assert_close(ours, theirs)
