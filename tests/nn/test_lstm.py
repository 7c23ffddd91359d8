"""The LSTM with packed weights is torch's, up to the rounding of float32."""

import copy

import pytest
import torch
from torch import nn

from descant.nn.lstm import PackedLSTM

LSTM = nn.LSTM(24, 24, 2)

pytestmark = pytest.mark.skipif(not PackedLSTM.supports(LSTM), reason="a processor that does not read float16")


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3, 9])
@pytest.mark.parametrize("size", [1, 2, 7, 50])
def test_chunks_through_packed_weights_are_torchs_lstm(batch, size):
    steps = torch.randn(batch, 50, 24).transpose(0, 1)  # with strides, as a codec passes them
    expected, last = LSTM(steps)
    packed, state, outputs = PackedLSTM(LSTM), None, []
    for chunk in steps.split(size):
        output, state = packed(chunk, state)
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs), expected, rtol=0, atol=1e-6)
    for ours, theirs in zip(state, last, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("width", [32, 100, 256])
def test_a_trained_lstm_with_large_weights_is_as_exact(width):
    """Large weights drive units to their ends, and magnify what float16 rounds; the second pass takes it out again."""
    torch.manual_seed(0)
    lstm = nn.LSTM(width, width)
    lstm.weight_hh_l0.mul_(3)
    steps = torch.randn(200, 2, width)
    in_double = copy.deepcopy(lstm).double()(steps.double())[0]
    ours = (PackedLSTM(lstm)(steps, None)[0] - in_double).abs().max()
    theirs = (lstm(steps)[0] - in_double).abs().max()
    assert ours < max(4 * theirs, torch.tensor(1e-6))


@torch.no_grad()
def test_weights_that_float16_holds_have_one_part():
    lstm = copy.deepcopy(LSTM)
    for index in range(2):
        weight = getattr(lstm, f"weight_hh_l{index}")
        weight.copy_(weight.half())
    packed = PackedLSTM(lstm)
    assert all(layer.low is None for layer in packed.layers)
    steps = torch.randn(50, 3, 24)
    torch.testing.assert_close(packed(steps, None)[0], lstm(steps)[0], rtol=0, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("num_threads", [2, 3])
def test_threads_give_the_same_bits(num_threads):
    lstm, steps = nn.LSTM(96, 96, 2), torch.randn(60, 2, 96)
    packed, before = PackedLSTM(lstm), torch.get_num_threads()
    inputs = steps[:1]  # one step's products of the inputs do not depend on torch's threads
    outputs = []
    try:
        for threads in (1, num_threads):
            torch.set_num_threads(threads)
            state, steps_of = None, []
            for _ in range(20):
                output, state = packed(inputs, state)
                steps_of.append(output)
            outputs.append(torch.cat(steps_of))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*outputs)


@torch.no_grad()
def test_what_two_float16_numbers_cannot_hold_is_left_to_torch():
    assert not PackedLSTM.supports(nn.LSTM(4, 4).double())
    lstm = nn.LSTM(4, 4)
    lstm.weight_hh_l0[0, 0] = 1e5
    assert not PackedLSTM.supports(lstm)
