"""A module in double precision gives what it gives otherwise, only more exactly, and stays as it is."""

from concurrent.futures import ThreadPoolExecutor

import torch
from torch import nn

from descant.nn.float64 import in_float64


def test_results_are_those_of_the_module_converted_whole():
    module = nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.LayerNorm(5)).requires_grad_(False)
    x = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = in_float64(module)(x)
    assert torch.equal(exact, nn.Sequential(*module).double()(x))
    assert exact.dtype == torch.float64


def test_what_is_kept_is_not_converted():
    module = nn.Sequential(nn.Embedding(4, 3)).requires_grad_(False)
    assert in_float64(module, keep={"0.weight"})(torch.tensor([1])).dtype == torch.float32
    assert in_float64(module, keep={"0"})(torch.tensor([1])).dtype == torch.float32
    assert in_float64(module)(torch.tensor([1])).dtype == torch.float64


def test_threads_may_share_the_module():
    module = nn.Sequential(*(nn.Linear(8, 8) for _ in range(8))).requires_grad_(False)
    weights = [*module.parameters()]
    x = torch.randn(2, 8)
    plain, exact = module(x), in_float64(module)(x.double())

    def use(index: int) -> bool:
        if index % 2:
            return torch.equal(module(x), plain)
        return torch.equal(in_float64(module)(x.double()), exact)

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(use, range(400)))
    assert all(now is before for now, before in zip(module.parameters(), weights, strict=True))
    assert {weight.dtype for weight in weights} == {torch.float32}
