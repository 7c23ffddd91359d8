"""An LSTM that reads little more than half of its weights, on a CPU and without gradients.

A step of one sequence takes as long as reading its recurrent weights: 32 MB for two layers 1,024 wide. Here a weight is
the sum of two float16 numbers, a high and a low part, together about as exact as float32. A block of steps is computed
twice: first with the high parts alone, which gives the hidden states up to float16's rounding; then again, adding the
products of the low parts with those states, which are so small (2 ** -12) that the rounding of the states does not
matter. Since these products are known for a whole block, the low parts are read once per block. And the first pass of a
block shares its steps with the second pass of the block before: both multiply the high parts, which are read once.
"""

import math
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from descant.compiled.code import LANES, Target, is_supported
from descant.compiled.workers import Job, Operation
from descant.nn.lstm_code import LOW_SCALE, NUM_GATES, RowWord, StepWord, lstm_library

LSTMState: TypeAlias = tuple[Float[Tensor, "layers B D"], Float[Tensor, "layers B D"]]


class PackedLSTM:
    """``lstm`` on a CPU without gradients; outputs differ from torch's by the rounding of float32.

    The recurrent weights are copied, so later changes of the layer do not count.
    """

    def __init__(self, lstm: nn.LSTM) -> None:
        self.layers = [_PackedLayer(lstm, index) for index in range(lstm.num_layers)]

    @staticmethod
    def supports(lstm: nn.LSTM) -> bool:
        """Whether these weights, on this processor, can be multiplied in two parts."""
        weights = [getattr(lstm, f"weight_hh_l{index}") for index in range(lstm.num_layers)]
        is_plain = weights[0].device.type == "cpu" and weights[0].dtype == torch.float32
        return is_plain and is_supported() and all(bool(weight.half().isfinite().all()) for weight in weights)

    def __call__(
        self, steps: Float[Tensor, "T B D"], state: LSTMState | None
    ) -> tuple[Float[Tensor, "T B D"], LSTMState]:
        """The outputs, and the state after them."""
        if state is None:
            zeros = steps.new_zeros(len(self.layers), *steps.shape[1:])
            state = zeros, zeros
        values, last = steps.transpose(0, 1), []
        for layer, hidden, cells in zip(self.layers, *state, strict=True):
            values, last_cells = layer(values, hidden, cells)
            last.append((values[:, -1], last_cells))
        last_hidden, last_cells = (torch.stack(part) for part in zip(*last, strict=True))
        return values.transpose(0, 1), (last_hidden, last_cells)


def packed_if_possible(lstm: nn.LSTM) -> "nn.LSTM | PackedLSTM":
    """The LSTM for inference: packed, or as it is where that is not supported."""
    return PackedLSTM(lstm) if PackedLSTM.supports(lstm) else lstm


class _PackedLayer:
    """One layer. Widths are padded to whole vectors; the padded units stay at zero."""

    def __init__(self, lstm: nn.LSTM, index: int) -> None:
        self.to_inputs, to_state, *biases = (
            getattr(lstm, f"{name}_l{index}").detach() for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        self.bias = biases[0] + biases[1]
        self.width = lstm.hidden_size
        self.missing = -self.width % LANES
        high = to_state.half()
        low = ((to_state - high.float()) / LOW_SCALE).half()
        self.high = self._packed(high)
        self.low = self._packed(low) if low.any() else None

    def __call__(
        self, inputs: Float[Tensor, "B T D"], hidden: Float[Tensor, "B D"], cells: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B D"]]:
        """The outputs, and the cells after them."""
        gates = linear(inputs, self.to_inputs, self.bias).unflatten(-1, (NUM_GATES, -1))
        gates = pad(gates, (0, self.missing)).contiguous()
        states = gates.new_empty(len(gates), gates.shape[1] + 1, gates.shape[-1])
        states[:, 0] = pad(hidden, (0, self.missing))
        cells = pad(cells, (0, self.missing)).contiguous()
        program = _Program()
        if self.low is None:
            for rows in _rows(gates, states[:, :-1], states[:, 1:], cells):
                program.add("step", self.high, rows)
            program.run()
        else:
            self._run_in_two_passes(program, self.low, gates, states, cells)
        return states[:, 1:, : self.width], cells[:, : self.width]

    def _run_in_two_passes(
        self,
        program: "_Program",
        low: Float[Tensor, "blocks inputs gates units"],
        gates: Float[Tensor, "B T gates D"],
        states: Float[Tensor, "B states D"],
        cells: Float[Tensor, "B D"],
    ) -> None:
        """Writes the states after each step, and the last cells. With blocks of sqrt(T) steps the least is read."""
        length = gates.shape[1]
        size = math.isqrt(length - 1) + 1
        corrected, rough_states, rough_cells = torch.empty_like(gates), states.clone(), cells.clone()
        # Nothing is multiplied by the state after the last step.
        rough = _rows(gates, rough_states[:, :-1], rough_states[:, 1:], rough_cells)[:-1]
        exact = _rows(corrected, states[:, :-1], states[:, 1:], cells)
        correction = _rows(gates, rough_states[:, :-1], corrected, cells)
        correction[::size, :, RowWord.HIDDEN] = exact[::size, :, RowWord.HIDDEN]  # known when the block begins
        for rows in rough[:size]:
            program.add("step", self.high, rows)
        for start in range(0, length, size):
            program.add("correct", low, np.concatenate(correction[start : start + size]))
            for time in range(start, min(start + size, length)):
                program.add("step", self.high, np.concatenate([exact[time], *rough[time + size : time + size + 1]]))
        program.run()

    def _packed(self, weight: Float[Tensor, "gates_D D"]) -> Float[Tensor, "blocks inputs gates units"]:
        gates = pad(weight.unflatten(0, (NUM_GATES, -1)), (0, self.missing, 0, self.missing))
        return gates.unflatten(1, (-1, LANES)).permute(1, 3, 0, 2).contiguous()


def _rows(
    summands: Float[Tensor, "B T gates D"],
    hidden: Float[Tensor, "B T D"],
    output: Float[Tensor, "B T *shape"],
    cells: Float[Tensor, "B D"],
) -> Int64[np.ndarray, "T B words"]:
    """The words of the rows of every step, as `RowWord` lists them."""
    words = np.empty((summands.shape[1], len(summands), RowWord.NUM_WORDS), np.int64)
    for word, part in enumerate((summands, hidden, output, cells[:, None].expand_as(hidden))):
        steps, rows = np.arange(part.shape[1])[:, None], np.arange(len(part))
        words[..., word] = part.data_ptr() + part.element_size() * (steps * part.stride(1) + rows * part.stride(0))
    return words


class _Program:
    """Operations that follow each other."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.rows: list[np.ndarray] = []
        self.library = lstm_library(Target.host())

    def add(
        self, name: str, weight: Float[Tensor, "blocks inputs gates units"], rows: Int64[np.ndarray, "rows words"]
    ) -> None:
        """Adds a function of `lstm_library` for some rows."""
        num_blocks = len(weight)
        # Every other operation begins where the one before ended, with the weights that are still in the cache.
        is_reversed = len(self.operations) % 2
        words = np.zeros(len(StepWord), np.int64)
        words[StepWord.WEIGHT], words[StepWord.ROWS] = weight.data_ptr(), rows.ctypes.data
        words[StepWord.NUM_ROWS], words[StepWord.WIDTH] = len(rows), weight.shape[1]
        words[StepWord.FIRST_BLOCK] = num_blocks - 1 if is_reversed else 0
        words[StepWord.BLOCK_STEP] = -1 if is_reversed else 1
        self.operations.append(Operation(self.library.address(name), words, num_blocks))
        self.rows.append(rows)

    def run(self) -> None:
        """Runs them all, on as many threads as torch uses."""
        job = Job(self.operations, np.zeros(1, np.int64), (self.rows, self.library))
        job.run(0, torch.get_num_threads())
