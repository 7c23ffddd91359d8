import contextlib

import torch
from torch import nn

from descant.training.ema import AveragedWeights


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))


def history(net, average, values):
    for count, value in enumerate(values, start=1):
        with torch.no_grad():
            net.weight.fill_(value)
            net.mean.fill_(-value)
            net.count.fill_(count)
        average.update(net, count)


def test_the_average_is_the_weighted_sum_of_the_formula():
    net = Net()
    average = AveragedWeights(net, decay=0.8)
    values = [3.0, -1.0, 4.0, 1.5, 9.0]
    history(net, average, values)
    shares = [0.2 * 0.8 ** (5 - index) for index in range(1, 6)]
    expected = sum(share * value for share, value in zip(shares, values, strict=True)) / sum(shares)
    torch.testing.assert_close(average.tensors["weight"], torch.full((3,), expected))
    torch.testing.assert_close(average.tensors["mean"], torch.full((2,), -expected))
    assert average.tensors["count"].item() == 5


def test_the_first_update_is_copied_and_constant_weights_keep_every_bit():
    net = Net()
    average = AveragedWeights(net, decay=0.999)
    history(net, average, [0.1])
    assert torch.equal(average.tensors["weight"], torch.full((3,), 0.1))
    for count in range(2, 50):
        average.update(net, count)
    assert torch.equal(average.tensors["weight"], torch.full((3,), 0.1))


def test_what_is_frozen_keeps_its_signs_of_zero():
    """Averages of -0.0 became 0.0, and the hash of a frozen encoder said that codes were those of another codec."""
    net = Net()
    net.weight.requires_grad_(False)
    average = AveragedWeights(net, decay=0.9)
    history(net, average, [-0.0, -0.0, -0.0])
    assert torch.signbit(average.tensors["weight"]).all()
    history(net, average, [0.0, 0.0, 0.0])
    assert torch.signbit(average.tensors["mean"]).all()


def test_the_module_gets_its_own_weights_back_even_after_an_error():
    net = Net()
    average = AveragedWeights(net, decay=0.5)
    history(net, average, [1.0, 2.0])
    averaged = average.tensors["weight"].clone()
    with contextlib.suppress(KeyError), average.applied_to(net):
        assert torch.equal(net.weight, averaged)
        raise KeyError
    assert torch.equal(net.weight, torch.full((3,), 2.0))
    assert torch.equal(average.tensors["weight"], averaged)
