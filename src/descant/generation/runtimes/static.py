"""The runtime for GPUs: static memory, and each step as one CUDA graph.

Steps are done by `static_step.py` in the memory of `static_state.py`, for a number of rows and a length that are
rounded up, so that few graphs do for all. Conditions and prompts are read by the model's own forward pass. Nothing here
depends on CUDA: other devices do the same steps without graphs.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.errors import InvalidRequest
from descant.generation.runtimes.base import Runtime, Session
from descant.generation.runtimes.cuda_graphs import GraphCache
from descant.generation.runtimes.int8_linear import has_triton
from descant.generation.runtimes.static_state import Capacity, StaticState, length_bucket, row_bucket
from descant.generation.runtimes.static_step import StaticStep
from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.kv_cache import StaticCache

PREFILL_CHUNK = 256
"""Steps of a prompt that are read at once; the logits of all but the last are not computed."""


class StaticRuntime(Runtime):
    """Decoding in static memory. The memory and the graphs of the last session to end are used again by the next.

    Args:
        is_captured: False does every step without a CUDA graph.
        uses_triton: attends with our own kernels; None for where they can be: on CUDA, if Triton is installed.
    """

    def __init__(self, lm: MusicLM, is_captured: bool = True, uses_triton: bool | None = None) -> None:
        super().__init__(lm)
        self._is_captured, self._uses_triton = is_captured, uses_triton
        self._idle: StepMemory | None = None
        self._lock = threading.Lock()

    @property
    def description(self) -> str:
        recorded = "recorded in CUDA graphs" if self._is_captured and self.lm.norm.weight.is_cuda else "in PyTorch"
        return f"steps in static memory, {recorded}"

    def start(self) -> "StaticSession":
        return StaticSession(self)

    def acquire(self, capacity: Capacity) -> "StepMemory":
        """Memory for this much, for one session at a time."""
        with self._lock:
            idle, self._idle = self._idle, None
        if idle is not None and idle.is_current(self.lm) and idle.capacity.union(capacity) == idle.capacity:
            return idle
        del idle  # before as much again is allocated
        uses_triton = self._uses_triton
        if uses_triton is None:
            uses_triton = self.lm.norm.weight.is_cuda and has_triton()
        return StepMemory(self.lm, capacity.rounded_up(), self._is_captured, uses_triton)

    def release(self, memory: "StepMemory") -> None:
        """Keeps the memory of a session that has ended for the next one."""
        with self._lock:
            self._idle = memory


class StepMemory:
    """A state and the graphs of the steps on it."""

    def __init__(self, lm: MusicLM, capacity: Capacity, is_captured: bool, uses_triton: bool) -> None:
        self.capacity = capacity
        self.state = StaticState(lm, capacity)
        self._step = StaticStep(lm, self.state, uses_triton)
        self._weights = _places(lm)
        self._graphs = GraphCache(lm.norm.weight.device, is_captured)

    def is_current(self, lm: MusicLM) -> bool:
        """Whether the weights still are where the graphs read them."""
        return self._weights == _places(lm)

    def step(self, rows: int, length: int) -> None:
        """One step of the first rows; none of them is further than ``length``."""
        rows, length = row_bucket(rows), min(length_bucket(length), self.capacity.length)
        self._graphs.run((rows, length), lambda: self._step(rows, length))


@dataclass
class Slot:
    """A sequence as the CPU sees it: the positions that it has taken, those that it may take, those it has sums for."""

    length: int
    most: int
    most_summed: int

    def check_room(self) -> None:
        """Raises `InvalidRequest` if the sequence may not take another step."""
        if self.length == self.most:
            raise InvalidRequest(
                f"step {self.length + 1} does not fit into a sequence that joined for {self.most} steps: "
                "give max_steps for the whole sequence"
            )
        if self.length == self.most_summed:
            raise InvalidRequest(
                "the summed condition has fewer steps than the sequence: "
                "give one vector a step, or a single one for all"
            )


class StaticSession(Session):
    """Sequences in a `StaticState`, each in the row of its slot's number."""

    def __init__(self, runtime: StaticRuntime) -> None:
        self._runtime, self._lm = runtime, runtime.lm
        self._memory: StepMemory | None = None
        self._slots: dict[int, Slot] = {}
        self._index: tuple[tuple[int, ...], Int[Tensor, " B"]] = ((), torch.empty(0, dtype=torch.int64))

    @torch.inference_mode()
    def join(
        self, inputs: LMInputs, sequence: Int[Tensor, "B K S"], max_steps: int
    ) -> tuple[list[int], Float[Tensor, "B K V"]]:
        cache, logits = self._prefill(inputs, sequence, max_steps)
        free = (number for number in range(len(self._slots) + len(sequence)) if number not in self._slots)
        slots = [number for number, _ in zip(free, sequence, strict=False)]
        rows = 1 + max((*self._slots, *slots))
        state = self._reserve(Capacity.of(inputs, rows, max_steps)).state
        state.fill(slots, inputs, cache)
        most = max_steps + inputs.prefix_steps
        summed = most if inputs.sum is None or inputs.sum.shape[1] == 1 else inputs.prefix_steps + inputs.sum.shape[1]
        self._slots |= {slot: Slot(cache.length, most, summed) for slot in slots}
        return slots, logits

    @torch.inference_mode()
    def step(self, slots: Sequence[int], codes: Int[Tensor, "B K"]) -> Float[Tensor, "B K V"]:
        assert self._memory is not None, "a session has no sequences before the first join"
        for slot in slots:
            self._slots[slot].check_room()
        index = self._index_of(slots)
        state = self._memory.state
        state.codes.index_copy_(0, index, codes)
        self._memory.step(1 + max(slots), 1 + max(self._slots[slot].length for slot in slots))
        for slot in slots:
            self._slots[slot].length += 1
        state.position.index_add_(0, index, torch.ones_like(index))
        return state.logits.index_select(0, index)

    @torch.inference_mode()
    def leave(self, slots: Sequence[int]) -> None:
        for slot in slots:
            del self._slots[slot]
        if not self._slots and self._memory is not None:
            self._runtime.release(self._memory)
            self._memory = None

    def _prefill(
        self, inputs: LMInputs, sequence: Int[Tensor, "B K S"], max_steps: int
    ) -> tuple[StaticCache, Float[Tensor, "B K V"]]:
        num_steps = sequence.shape[-1]
        if num_steps > max_steps:
            raise InvalidRequest(f"{num_steps} known steps do not fit into max_steps={max_steps}: ask for more")
        cache = self._lm.new_cache(len(sequence), num_steps, inputs)
        for chunk in sequence.split(PREFILL_CHUNK, dim=-1):
            hidden = self._lm.hidden_states(chunk, inputs, cache)
        return cache, self._lm.predict(hidden[:, -1:])[:, :, 0]

    def _reserve(self, capacity: Capacity) -> StepMemory:
        """The memory, with room for this as well; sequences that are there keep their rows."""
        if self._memory is None:
            self._memory = self._runtime.acquire(capacity)
        needed = self._memory.capacity.union(capacity)
        if needed != self._memory.capacity:
            larger = self._runtime.acquire(needed)
            larger.state.copy_from(self._memory.state)
            self._memory = larger
        return self._memory

    def _index_of(self, slots: Sequence[int]) -> Int[Tensor, " B"]:
        """The slots on the device; copied there again only when they change."""
        numbers = tuple(slots)
        if self._index[0] != numbers:
            self._index = (numbers, torch.tensor(numbers, device=self._lm.norm.weight.device))
        return self._index[1]


def _places(lm: MusicLM) -> list[tuple[int, torch.dtype]]:
    return [(tensor.data_ptr(), tensor.dtype) for tensor in (*lm.parameters(), *lm.buffers())]
