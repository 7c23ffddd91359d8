"""An LSTM whose weights are packed once: torch's own packs them in every call, which takes as long as many steps."""

from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

LSTMState: TypeAlias = tuple[Float[Tensor, "layers B D"], Float[Tensor, "layers B D"]]

LSTM_MODE = 2
"""The number of this kind of recurrent layer among torch's operations."""


class PackedLSTM:
    """``lstm`` on a CPU without gradients, with the same results bit for bit (oneDNN computes both).

    The weights are copied, so later changes of the layer do not count.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        self.width = lstm.hidden_size
        self.layers: list[list[Tensor]] = []
        for index in range(lstm.num_layers):
            to_inputs, to_state, *biases = (
                getattr(lstm, f"{name}_l{index}").detach() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            packed = torch.ops.mkldnn._reorder_mkldnn_rnn_layer_weight(
                to_inputs, to_state, self.width, reverse=False, has_biases=True, batch_first=False
            )
            self.layers.append([*packed, *biases])

    @staticmethod
    def supports(lstm: nn.LSTM) -> bool:
        """Whether torch computes this LSTM with oneDNN."""
        weight = lstm.weight_hh_l0
        is_plain = weight.device.type == "cpu" and weight.dtype == torch.float32
        return is_plain and torch.backends.mkldnn.is_available() and bool(torch.backends.mkldnn.enabled)

    def __call__(
        self, steps: Float[Tensor, "T B D"], state: LSTMState | None
    ) -> tuple[Float[Tensor, "T B D"], LSTMState]:
        """The outputs, and the state after them."""
        if state is None:
            zeros = steps.new_zeros(len(self.layers), steps.shape[1], self.width)
            state = zeros, zeros
        steps = steps.contiguous()  # the operation does not look at strides
        hidden, cells = [], []
        for weights, layer_hidden, layer_cells in zip(self.layers, *state, strict=True):
            steps, last_hidden, last_cells, _ = torch.ops.aten.mkldnn_rnn_layer(
                steps,
                *weights,
                layer_hidden,
                layer_cells,
                reverse=False,
                batch_sizes=[],
                mode=LSTM_MODE,
                hidden_size=self.width,
                num_layers=len(self.layers),
                has_biases=True,
                bidirectional=False,
                batch_first=False,
                train=False,
            )
            hidden.append(last_hidden)
            cells.append(last_cells)
        return steps, (torch.stack(hidden), torch.stack(cells))
