"""Layers over chunks give what they give over the whole."""

import pytest
import torch
from torch import Tensor, nn

from descant.nn.conv import PaddedConv1d, PaddedConvTranspose1d
from descant.nn.stream import Chain, Each, StreamStage, Sum


def in_pieces(stage: StreamStage, values: Tensor, size: int) -> Tensor:
    chunks = [stage.push(chunk, is_last=False) for chunk in values.split(size, dim=1)]
    return torch.cat([*chunks, stage.push(values[:, :0], is_last=True)], dim=1)


@torch.no_grad()
def assert_streams(layer: nn.Module, values: Tensor) -> None:
    for size in (1, 3, values.shape[-1]):
        torch.testing.assert_close(in_pieces(layer.stream(), values.mT, size).mT, layer(values), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (7, 1), (3, 4), (4, 3)])
@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_a_convolution_of_chunks_is_that_of_the_whole(kernel, dilation, mode, is_causal):
    conv = PaddedConv1d(2, 3, kernel, dilation=dilation, padding_mode=mode, is_causal=is_causal)
    for length in (1, 2, 4, 9, 20):
        assert_streams(conv, torch.randn(2, 2, length))


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (4, 2), (10, 5), (5, 5), (11, 2)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_a_transposed_convolution_of_chunks_is_that_of_the_whole(kernel, stride, is_causal):
    conv = PaddedConvTranspose1d(2, 3, kernel, stride=stride, is_causal=is_causal)
    for length in (1, 2, 9):
        assert_streams(conv, torch.randn(2, 2, length))


@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize("is_causal", [False, True])
def test_an_output_step_is_given_with_its_last_needed_input_and_not_before(mode, is_causal):
    conv = PaddedConv1d(1, 1, 5, dilation=2, padding_mode=mode, is_causal=is_causal)
    up = PaddedConvTranspose1d(1, 1, 7, stride=3, is_causal=is_causal)
    stage, num_given = Chain(conv.stream(), up.stream()), 0
    for step in range(20):
        num_given += stage.push(torch.randn(1, 1, 1), is_last=False).shape[1]
        assert stage.last_needed(num_given) > step
        assert num_given == 0 or stage.last_needed(num_given - 1) <= step


def test_a_sum_waits_for_its_slower_branch():
    conv = PaddedConv1d(1, 1, 5)
    values = torch.randn(1, 1, 9)
    for branches in [(Chain(), conv.stream()), (conv.stream(), Each(nn.Identity()))]:
        stage = Sum(*branches)
        assert stage.last_needed(0) == 2
        torch.testing.assert_close(in_pieces(stage, values.mT, 2).mT, values + conv(values))
