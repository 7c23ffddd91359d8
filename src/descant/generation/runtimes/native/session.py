"""The native runtime: whole steps of the language model in compiled functions, on any CPU."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.compiled.code import Target
from descant.generation.runtimes.base import Runtime, Session
from descant.generation.runtimes.native.buffers import MAX_TOKENS, Buffers
from descant.generation.runtimes.native.cache import cache_format_for
from descant.generation.runtimes.native.changes import with_changes
from descant.generation.runtimes.native.kernels import CacheWord, StateWord, TokenWord
from descant.generation.runtimes.native.loop import NUM_STEPS, Drawing, StepLoop
from descant.generation.runtimes.native.packing import Rounding, address_of, padded
from descant.generation.runtimes.native.program import Programs, head_shape
from descant.generation.runtimes.native.slots import Slots
from descant.generation.runtimes.native.team_size import TeamSize
from descant.generation.runtimes.native.weights import (
    PackedLM,
    PackedMatrices,
    free_matrices,
    pack_matrices,
    padded_columns,
)
from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs

CONDITIONS_LENGTH = TokenWord.CONDITIONS + CacheWord.LENGTH

CACHED_BYTES = 2**24
"""Weights up to this size fit into the last cache of most processors: several threads may each read all of them."""


class NativeRuntime(Runtime):
    """Decoding on a CPU. Weights are packed once, at first use, and again if they were changed since.

    Args:
        format: what the matrices are rounded to. They are packed at once then and the model's own are freed, so that
            it can only generate. None keeps each exactly as it is, in the smallest format that can.
        target: the processor to compile for; None is the one at hand.
        packed: matrices that were packed in ``format`` while the model was loaded.
    """

    def __init__(
        self,
        lm: MusicLM,
        format: Rounding | None = None,
        target: Target | None = None,
        packed: PackedMatrices | None = None,
    ) -> None:
        super().__init__(lm)
        self.format = format
        self._target = target or Target.host()
        self._weights: PackedLM | None = None
        if format is not None:
            self._weights = PackedLM(lm, format, packed or pack_matrices(lm, format))
            free_matrices(lm)

    @property
    def weights(self) -> PackedLM:
        """The packed weights."""
        if self._weights is None or (self.format is None and not self._weights.is_current(self.lm)):
            self._weights = PackedLM(self.lm, self.format)
        return self._weights

    def bytes_per_step(self) -> int:
        return self.weights.num_bytes

    @property
    def description(self) -> str:
        formats = " and ".join(sorted(self.weights.formats))
        how = "rounded" if self.format is not None else "as stored"
        return f"steps compiled for {self._target.cpu}, weights in {formats} {how}"

    def start(self) -> "NativeSession":
        return NativeSession(self.lm, self.weights, self._target, torch.get_num_threads())

    def num_sessions(self) -> int:
        return torch.get_num_threads() if self.bytes_per_step() <= CACHED_BYTES else 1

    def start_alone(self) -> "NativeSession":
        return NativeSession(self.lm, self.weights, self._target, num_threads=1)

    def adapted(self, lm: MusicLM) -> "AdaptedNativeRuntime":
        return AdaptedNativeRuntime(self, lm)


class AdaptedNativeRuntime(NativeRuntime):
    """Decoding with an adapter beside the packed weights of another runtime.

    Args:
        lm: the model of ``base`` with the adapter.
    """

    def __init__(self, base: NativeRuntime, lm: MusicLM) -> None:
        super().__init__(lm, target=base._target)
        self.format = base.format
        self._base = base
        self._changed: PackedLM | None = None

    @property
    def weights(self) -> PackedLM:
        """The packed weights, and the changes beside them."""
        weights = self._base.weights
        if self._changed is None or self._weights is not weights:
            self._weights, self._changed = weights, with_changes(weights, self.lm)
        return self._changed


class NativeSession(Session):
    """Sequences in slots. The sums of a token do not depend on the other tokens, so neither do its bits."""

    def __init__(self, lm: MusicLM, weights: PackedLM, target: Target, num_threads: int) -> None:
        self.lm, self.weights, self.target = lm, weights, target
        self.team = TeamSize(num_threads)
        self.shape = head_shape(lm.config, cache_format_for(weights.formats))
        self.buffers = Buffers.of(lm.config, weights.max_rank)
        self._num_positions = 0
        self._slots = Slots()
        self._loops: dict[int, StepLoop] = {}
        """By the number of jobs."""
        self._is_short = weights.num_bytes <= CACHED_BYTES
        self._nothing = torch.zeros(1, padded(lm.config.transformer.width))

    def join(
        self, inputs: LMInputs, sequence: Int[Tensor, "B K S"], max_steps: int
    ) -> tuple[list[int], Float[Tensor, "B K V"]]:
        self._make_programs(max_steps + inputs.prefix_steps)
        codes = sequence.long().transpose(1, 2).contiguous()
        numbers, words = [], []
        for row, of_row in zip(torch.arange(len(sequence)).split(1), codes, strict=True):
            own = inputs.rows(row)
            numbers.append(self._add(own, max_steps + inputs.prefix_steps))
            words.append(self._known(numbers[-1], own, of_row))
        last = np.cumsum([len(of_row) for of_row in words]) - 1
        return numbers, self._logits(np.concatenate(words), last)

    def step(self, slots: Sequence[int], codes: Int[Tensor, "B K"]) -> Float[Tensor, "B K V"]:
        codes = codes.long().contiguous()
        words = self._slots.next_tokens(np.array(slots))
        words[:, TokenWord.CODES] = _addresses(codes)
        with self.team.step(len(words)):
            return self._logits(words, np.arange(len(words)))

    def steps_at_once(self, num_sequences: int) -> int:
        """The most steps that ``draw_steps`` should draw for so many sequences: 1 where there are more of them than it
        reads at once, or where a step takes so long that a caller would wait for several."""
        return NUM_STEPS if self._is_short and num_sequences <= MAX_TOKENS else 1

    def draw_steps(
        self, slots: Sequence[int], logits: Float[Tensor, "B K V"], drawing: Drawing
    ) -> tuple[Int[Tensor, "steps jobs K"], Float[Tensor, "steps jobs K"], Float[Tensor, "B K V"]]:
        """Draws the codes of some steps, and reads each of them.

        Gives the codes, the values with which they won, and the logits of the step after them.

        Args:
            logits: of the first step, in the order of the slots.
        """
        num_steps, num_jobs, num_codebooks, _ = drawing.log_noise.shape
        if num_jobs not in self._loops:
            operations = self._programs.step_operations
            self._loops[num_jobs] = StepLoop(operations, self.buffers, num_jobs, num_codebooks, self.target)
        words, strides = self._slots.steps_ahead(np.array(slots), num_steps)
        self._count_conditioned(words)
        rows, next_logits = self._empty_logits(len(words))
        self._programs.put_logits(rows)
        with self.team.step(len(words), num_steps):
            codes, values = self._loops[num_jobs].run(
                words, strides, logits, next_logits, drawing, self.team.num_threads
            )
        return codes, values, next_logits

    def leave(self, slots: Sequence[int]) -> None:
        self._slots.leave(slots)

    def _make_programs(self, num_steps: int) -> None:
        """The programs, with a table of positions that is long enough."""
        if num_steps > self._num_positions:
            self._num_positions = max(num_steps, 2 * self._num_positions)
            positions = self.lm.positions(self._num_positions).float()
            positions = positions.contiguous() if self.shape.is_rotary else padded_columns(positions)
            self._programs = Programs(self.shape, self.weights, self.buffers, positions, self.target)
            self._loops = {}

    def _known(self, number: int, inputs: LMInputs, codes: Int[Tensor, "S K"]) -> Int[np.ndarray, "n words"]:
        """The words of a new sequence's known tokens, its prefix first."""
        parts = []
        if inputs.prefix is not None:
            self._slots.add_to_next(number, padded_columns(inputs.prefix[0].float()))
            parts.append(self._slots.tokens(number, inputs.prefix_steps))
        summed = self._nothing if inputs.sum is None else padded_columns(inputs.sum[0].float())
        self._slots.add_to_next(number, summed)
        parts.append(self._slots.tokens(number, len(codes)))
        parts[-1][:, TokenWord.CODES] = _addresses(codes)
        return np.concatenate(parts)

    def _add(self, inputs: LMInputs, max_length: int) -> int:
        """A new slot, with the keys and values of its conditions."""
        output = self._nothing if inputs.output is None else padded_columns(inputs.output[0].float())
        words, kept = np.zeros(TokenWord.NUM_WORDS, np.int64), [output]
        words[TokenWord.OUTPUT] = address_of(output)
        kept += self._allocate(words, TokenWord.STEPS, max_length)
        kept += self._read_conditions(words, inputs)
        return self._slots.add(words, kept)

    def _allocate(self, words: np.ndarray, first: int, length: int) -> list[Tensor]:
        """Memory for keys and values of all layers; the operating system gives it when it is written."""
        transformer = self.lm.config.transformer
        head_bytes = self.shape.layout.head_bytes(length)
        layer_bytes = head_bytes * transformer.num_heads
        keys, values = (torch.empty(layer_bytes * transformer.num_layers, dtype=torch.uint8) for _ in range(2))
        words[first + CacheWord.KEYS], words[first + CacheWord.VALUES] = address_of(keys), address_of(values)
        words[first + CacheWord.HEAD_BYTES], words[first + CacheWord.LAYER_BYTES] = head_bytes, layer_bytes
        return [keys, values]

    def _read_conditions(self, words: np.ndarray, inputs: LMInputs) -> list[Tensor]:
        """Computes the keys and values of what cross-attention reads: only of what is there, without padding."""
        if inputs.cross is None:
            return []
        mask = torch.ones(inputs.cross.shape[1], dtype=torch.bool)
        values = inputs.cross[0, mask if inputs.cross_mask is None else inputs.cross_mask[0]].float()
        kept = self._allocate(words, TokenWord.CONDITIONS, len(values))
        for start in range(0, len(values), MAX_TOKENS):
            part = padded_columns(values[start : start + MAX_TOKENS])
            tokens = self.buffers.tokens[: len(part)]
            tokens[:] = words
            tokens[:, TokenWord.POSITION] = np.arange(start, start + len(part))
            self.buffers.normed[: len(part)] = part
            self._programs.conditions.run(len(part), self.team.num_threads)
        words[CONDITIONS_LENGTH] = len(values)
        return kept

    def _logits(self, words: Int[np.ndarray, "n words"], last: Int[np.ndarray, " B"]) -> Float[Tensor, "B K V"]:
        """Reads tokens, those of one sequence in their order; gives the logits after the tokens ``last``."""
        buffers, programs = self.buffers, self._programs
        logits, of_codebooks = self._empty_logits(len(last))
        num_done = 0
        for start in range(0, len(words), MAX_TOKENS):
            count = min(MAX_TOKENS, len(words) - start)
            buffers.tokens[:count] = words[start : start + count]
            self._count_conditioned(words[start : start + count])
            here = last[(last >= start) & (last < start + count)] - start
            programs.put_logits(logits[num_done:])
            num_done += len(here)
            if len(here) == count:
                programs.step.run(count, self.team.num_threads)
                continue
            programs.layers.run(count, self.team.num_threads)
            if len(here):
                buffers.hidden[: len(here)] = buffers.hidden[here]
                buffers.tokens[: len(here)] = buffers.tokens[here]
                programs.logits.run(len(here), self.team.num_threads)
        return of_codebooks

    def _count_conditioned(self, words: Int[np.ndarray, "n words"]) -> None:
        """Says up to which token there are conditions to attend to."""
        attending = words[:, CONDITIONS_LENGTH].nonzero()[0]
        self.buffers.state[StateWord.NUM_CONDITIONED] = attending[-1] + 1 if len(attending) else 0

    def _empty_logits(self, count: int) -> tuple[Float[Tensor, "B KV"], Float[Tensor, "B K V"]]:
        """Memory for logits, as it is written and as it is read."""
        config = self.lm.config
        logits = torch.empty(count, config.num_codebooks * padded(config.codebook_size))
        return logits, logits.unflatten(1, (config.num_codebooks, -1))[:, :, : config.codebook_size]


def _addresses(codes: Int[Tensor, "n K"]) -> Int[np.ndarray, " n"]:
    """Where each token's codes are."""
    return address_of(codes) + codes.stride(0) * codes.element_size() * np.arange(len(codes))
