"""Graphed functions give what their functions give. Without CUDA they are called plainly, on the same static memory."""

import torch

from descant.generation.runtimes.cuda_graphs import GraphedFunction

CPU = torch.device("cpu")


def weighted(rows, weight, *, power=1):
    return (rows * weight) ** power, rows.sum(dim=0)


def test_a_graphed_function_gives_the_results_of_the_function():
    graphed = GraphedFunction(weighted, CPU)
    for shape in ((2, 3), (4, 3), (2, 3)):
        rows, weight = torch.randn(shape), torch.randn(3)
        for power in (1, 2):
            for found, expected in zip(
                graphed([rows], [weight], power=power), weighted(rows, weight, power=power), strict=True
            ):
                assert torch.equal(found, expected)


def test_results_are_not_overwritten_by_the_next_call():
    graphed = GraphedFunction(weighted, CPU)
    first, _ = graphed([torch.ones(2, 3)], [torch.ones(3)])
    graphed([torch.zeros(2, 3)], [torch.ones(3)])
    assert torch.equal(first, torch.ones(2, 3))


def test_constants_are_copied_when_they_are_other_objects():
    graphed, rows = GraphedFunction(weighted, CPU), torch.ones(2, 3)
    for factor in (1.0, 2.0, 3.0):
        found, _ = graphed([rows], [torch.full((3,), factor)])
        assert torch.equal(found, torch.full((2, 3), factor))
