import pytest
import torch

from descant.errors import ConfigError
from descant.nn.conv import PaddedConv1d, PaddedConvTranspose1d, pad_steps, pad_time

SHAPES = [(7, 1, 1), (3, 1, 2), (4, 2, 1), (8, 4, 1), (10, 5, 1), (3, 3, 1)]


@pytest.mark.parametrize(("kernel", "stride", "dilation"), SHAPES)
@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("length", [1, 2, 5, 16, 23])
def test_t_steps_become_t_over_stride_rounded_up(kernel, stride, dilation, mode, is_causal, length):
    conv = PaddedConv1d(2, 3, kernel, stride=stride, dilation=dilation, padding_mode=mode, is_causal=is_causal)
    assert conv(torch.randn(1, 2, length)).shape == (1, 3, -(-length // stride))


@pytest.mark.parametrize(("kernel", "stride"), [(4, 2), (10, 5), (8, 4), (5, 5), (7, 4)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_t_steps_become_t_times_stride(kernel, stride, is_causal):
    conv = PaddedConvTranspose1d(2, 3, kernel, stride=stride, is_causal=is_causal)
    assert conv(torch.randn(1, 2, 9)).shape == (1, 3, 9 * stride)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), SHAPES)
@pytest.mark.parametrize("is_causal", [False, True])
def test_every_input_step_is_used(kernel, stride, dilation, is_causal):
    conv = PaddedConv1d(1, 1, kernel, stride=stride, dilation=dilation, padding_mode="constant", is_causal=is_causal)
    values = torch.randn(1, 1, 4 * stride + 1, requires_grad=True)
    conv(values).sum().backward()
    assert (values.grad != 0).all()


def test_the_padded_convolution_is_the_plain_one_of_the_padded_values():
    conv = PaddedConv1d(2, 3, 4, stride=2, padding_mode="constant")
    values = torch.randn(2, 2, 9)
    by_hand = torch.nn.functional.pad(values, (1, 2))
    torch.testing.assert_close(conv(values), conv.conv(by_hand))


def test_the_larger_half_of_an_odd_surplus_is_on_the_left():
    conv = PaddedConv1d(1, 1, 10, stride=5)
    up = PaddedConvTranspose1d(1, 1, 10, stride=5)
    assert (conv.padding_left, conv.padding_right) == (3, 2)
    assert (up.cut_left, up.cut_right) == (3, 2)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(7, 1, 1), (3, 1, 4), (8, 4, 1)])
def test_a_causal_convolution_does_not_depend_on_later_steps(kernel, stride, dilation):
    conv = PaddedConv1d(1, 1, kernel, stride=stride, dilation=dilation, padding_mode="constant", is_causal=True)
    values = torch.randn(1, 1, 24)
    changed = values.clone()
    changed[..., 12:] += 1
    before, after = conv(values), conv(changed)
    first_changed = (before != after).squeeze().nonzero()[0].item()
    assert first_changed == 12 // stride


def test_a_causal_transposed_convolution_does_not_depend_on_later_steps():
    conv = PaddedConvTranspose1d(1, 1, 8, stride=4, is_causal=True)
    values = torch.randn(1, 1, 6)
    changed = values.clone()
    changed[..., 3] += 1
    assert torch.equal(conv(values)[..., :12], conv(changed)[..., :12])


def test_reflection_mirrors_without_repeating_the_edge():
    padded = pad_time(torch.arange(5.0).reshape(1, 1, 5), 2, 3, "reflect")
    assert padded.flatten().tolist() == [2, 1, 0, 1, 2, 3, 4, 3, 2, 1]


def test_values_shorter_than_their_reflection_are_continued_by_zeros():
    padded = pad_time(torch.tensor([[[1.0, 2.0]]]), 3, 1, "reflect")
    assert padded.flatten().tolist() == [0, 0, 2, 1, 2, 0]


def test_a_kernel_shorter_than_its_stride_is_refused():
    with pytest.raises(ConfigError, match="kernel_size=3 is shorter than stride=4"):
        PaddedConv1d(1, 1, 3, stride=4)
    with pytest.raises(ConfigError, match="kernel_size=3 is shorter than stride=4"):
        PaddedConvTranspose1d(1, 1, 3, stride=4)


@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize(
    ("length", "left", "right"), [(1, 0, 0), (9, 3, 2), (4, 3, 0), (2, 3, 1), (1, 0, 4), (3, 5, 5)]
)
def test_steps_are_padded_the_same_with_channels_last(mode, length, left, right):
    values = torch.randn(2, 3, length)
    assert torch.equal(pad_steps(values.mT, left, right, mode).mT, pad_time(values, left, right, mode))
