"""The compiled ELU is torch's."""

import pytest
import torch
from torch.nn import functional as F

from descant.nn.elu import TILE, elu


@pytest.mark.parametrize("count", [0, 1, 33, TILE, 3 * TILE + 45])
@pytest.mark.parametrize("num_threads", [1, 2])
def test_every_value_is_activated(count, num_threads):
    values, before = 4 * torch.randn(count), torch.get_num_threads()
    torch.set_num_threads(num_threads)
    try:
        torch.testing.assert_close(elu(values), F.elu(values), rtol=0, atol=2e-7)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_elu_from_end_to_end(dtype):
    ends = torch.tensor([1e-7, -1e-7, 0.0, 100.0, -200.0, float("inf"), float("-inf"), float("nan")])
    values = torch.cat([torch.linspace(-20, 20, 4_001), ends]).to(dtype)
    torch.testing.assert_close(elu(values), F.elu(values), rtol=0, atol=2e-7, equal_nan=True)


def test_values_with_gaps_between_them_keep_their_places():
    values = torch.randn(3, 8, 5)
    torch.testing.assert_close(elu(values.mT), F.elu(values).mT, rtol=0, atol=2e-7)
