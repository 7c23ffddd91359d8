"""The LSTM with packed weights is torch's."""

import pytest
import torch
from torch import nn

from descant.nn.lstm import PackedLSTM

LSTM = nn.LSTM(24, 24, 2)

pytestmark = pytest.mark.skipif(not PackedLSTM.supports(LSTM), reason="torch without oneDNN")


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 50])
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


def test_an_lstm_in_double_precision_is_left_to_torch():
    assert not PackedLSTM.supports(nn.LSTM(4, 4).double())
