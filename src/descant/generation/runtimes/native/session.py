"""The native runtime: whole steps of the language model in compiled functions, on any CPU."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from descant.generation.runtimes.base import Runtime, Session
from descant.generation.runtimes.native.cache import cache_format_for
from descant.generation.runtimes.native.code import Target
from descant.generation.runtimes.native.kernels import CacheWord, TokenWord
from descant.generation.runtimes.native.packing import PackedFormat, address_of, padded
from descant.generation.runtimes.native.program import (
    MAX_TOKENS,
    Buffers,
    ProgramBuilder,
    conditions_job,
    head_shape,
    heads_job,
    layers_job,
)
from descant.generation.runtimes.native.weights import PackedLM, free_matrices
from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs


class NativeRuntime(Runtime):
    """Decoding on a CPU. Weights are packed once, at first use, and again if they were changed since.

    Args:
        format: what the matrices are rounded to. They are packed at once then and the model's own are freed, so that
            it can only generate. None keeps each exactly as it is, in the smallest format that can.
        target: the processor to compile for; None is the one at hand.
    """

    def __init__(self, lm: MusicLM, format: PackedFormat | None = None, target: Target | None = None) -> None:
        super().__init__(lm)
        self.format = format
        self._target = target or Target.host()
        self._weights: PackedLM | None = None
        if format is not None:
            self._weights = PackedLM(lm, format)
            free_matrices(lm)

    @property
    def weights(self) -> PackedLM:
        """The packed weights."""
        if self._weights is None or (self.format is None and not self._weights.is_current(self.lm)):
            self._weights = PackedLM(self.lm, self.format)
        return self._weights

    def bytes_per_step(self) -> int:
        return sum(weight.num_bytes for weight in self.weights.matrices())

    @property
    def description(self) -> str:
        formats = " and ".join(sorted(self.weights.formats))
        how = "rounded" if self.format is not None else "as stored"
        return f"steps compiled for {self._target.cpu}, weights in {formats} {how}"

    def start(self) -> "NativeSession":
        return NativeSession(self.lm, self.weights, self._target)


@dataclass
class Slot:
    """One sequence: its caches, and the condition that is added to its steps.

    Args:
        words: the token words that stay the same from step to step.
        kept: the memory that ``words`` point to.
        length: steps read so far, prefix included.
    """

    words: np.ndarray
    kept: list[Tensor]
    summed: Float[Tensor, "S D"] | None
    prefix_steps: int
    length: int = 0

    def tokens(self, count: int) -> Int[np.ndarray, "count words"]:
        """The words of the next tokens, which are then counted as read."""
        words = np.repeat(self.words[None], count, axis=0)
        positions = np.arange(self.length, self.length + count)
        words[:, TokenWord.POSITION] = positions
        words[:, TokenWord.STEPS + CacheWord.LENGTH] = positions + 1
        self.length += count
        return words

    def add_sum(self, hidden: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        """The next embedded steps with the condition that is added to them."""
        if self.summed is None:
            return hidden
        if len(self.summed) == 1:
            return hidden + self.summed
        start = max(0, self.length - self.prefix_steps)
        return hidden + self.summed[start : start + len(hidden)]


class NativeSession(Session):
    """Sequences in slots. The sums of a token do not depend on the other tokens, so neither do its bits."""

    def __init__(self, lm: MusicLM, weights: PackedLM, target: Target) -> None:
        self.lm, self.weights, self.target = lm, weights, target
        self.num_threads = torch.get_num_threads()
        self.shape = head_shape(lm.config, cache_format_for(weights.formats))
        self.buffers = Buffers.of(lm.config)
        self._first_rows = torch.arange(lm.config.num_codebooks) * (lm.config.codebook_size + 1)
        self._positions = torch.empty(0)
        self._slots: dict[int, Slot] = {}
        self._no_output = torch.zeros(padded(lm.config.transformer.width))

    def join(
        self, inputs: LMInputs, sequence: Int[Tensor, "B K S"], max_steps: int
    ) -> tuple[list[int], Float[Tensor, "B K V"]]:
        rows = [inputs.rows(row) for row in torch.arange(len(sequence)).split(1)]
        self._make_positions(max_steps + inputs.prefix_steps)
        numbers = [self._add(row, max_steps + inputs.prefix_steps) for row in rows]
        known = self._embed(sequence.transpose(1, 2))
        hidden, words = [], []
        for number, row, steps in zip(numbers, rows, known, strict=True):
            slot = self._slots[number]
            steps = slot.add_sum(steps)
            if row.prefix is not None:
                steps = torch.cat([row.prefix[0].float(), steps])
            hidden.append(self._placed(steps, torch.arange(len(steps))))
            words.append(slot.tokens(len(steps)))
        last = np.cumsum([len(of_row) for of_row in words]) - 1
        return numbers, self._logits(torch.cat(hidden), np.concatenate(words), last)

    def step(self, slots: Sequence[int], codes: Int[Tensor, "B K"]) -> Float[Tensor, "B K V"]:
        current = [self._slots[number] for number in slots]
        hidden = [slot.add_sum(row) for slot, row in zip(current, self._embed(codes).split(1), strict=True)]
        places = torch.tensor([slot.length for slot in current])
        words = np.concatenate([slot.tokens(1) for slot in current])
        return self._logits(self._placed(torch.cat(hidden), places), words, np.arange(len(words)))

    def leave(self, slots: Sequence[int]) -> None:
        for slot in slots:
            del self._slots[slot]

    def _make_positions(self, num_steps: int) -> None:
        """A table of positions that is long enough, and the programs, which read rotary ones from it."""
        if num_steps > len(self._positions):
            self._positions = self.lm.positions(max(num_steps, 2 * len(self._positions))).float()
            rotary = self._positions if self.shape.is_rotary else None
            parts = (self.shape, self.weights, self.buffers, rotary, self.target)
            builders = [ProgramBuilder(*parts) for _ in range(3)]
            self._layers, self._heads = layers_job(builders[0]), heads_job(builders[1])
            self._conditions = conditions_job(builders[2])

    def _embed(self, codes: Int[Tensor, "*rows K"]) -> Float[Tensor, "*rows D"]:
        """The sum of the codes' embeddings, in the order of the codebooks."""
        embedded = self.weights.embeddings[codes + self._first_rows].unbind(-2)
        return sum(embedded[1:], start=embedded[0])

    def _placed(self, hidden: Float[Tensor, "n D"], places: Int[Tensor, " n"]) -> Float[Tensor, "n D"]:
        return hidden if self.shape.is_rotary else hidden + self._positions[places]

    def _add(self, inputs: LMInputs, max_length: int) -> int:
        """A new slot, with the keys and values of its conditions."""
        output = self._no_output if inputs.output is None else self._padded(inputs.output[0].float())[0]
        words, kept = np.zeros(TokenWord.NUM_WORDS, np.int64), [output]
        words[TokenWord.OUTPUT] = address_of(output)
        kept += self._allocate(words, TokenWord.STEPS, max_length)
        kept += self._read_conditions(words, inputs)
        number = next(number for number in range(len(self._slots) + 1) if number not in self._slots)
        summed = None if inputs.sum is None else inputs.sum[0].float()
        self._slots[number] = Slot(words, kept, summed, inputs.prefix_steps)
        return number

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
            part = self._padded(values[start : start + MAX_TOKENS])
            tokens = self.buffers.tokens[: len(part)]
            tokens[:] = words
            tokens[:, TokenWord.POSITION] = np.arange(start, start + len(part))
            self.buffers.normed[: len(part)] = part
            self._conditions.run(len(part), self.num_threads)
        words[TokenWord.CONDITIONS + CacheWord.LENGTH] = len(values)
        return kept

    def _padded(self, vectors: Float[Tensor, "n D"]) -> Float[Tensor, "n padded"]:
        return F.pad(vectors, (0, self.buffers.hidden.shape[1] - vectors.shape[1])).contiguous()

    def _logits(
        self, hidden: Float[Tensor, "n D"], words: Int[np.ndarray, "n words"], last: Int[np.ndarray, " B"]
    ) -> Float[Tensor, "B K V"]:
        """Reads tokens, those of one sequence in their order; gives the logits after the tokens ``last``."""
        buffers, width = self.buffers, hidden.shape[1]
        logits = []
        for start in range(0, len(hidden), MAX_TOKENS):
            count = min(MAX_TOKENS, len(hidden) - start)
            buffers.hidden[:count, :width] = hidden[start : start + count]
            buffers.tokens[:count] = words[start : start + count]
            self._layers.run(count, self.num_threads)
            here = last[(last >= start) & (last < start + count)] - start
            if len(here):
                if len(here) < count:
                    buffers.hidden[: len(here)] = buffers.hidden[here]
                    buffers.tokens[: len(here)] = buffers.tokens[here]
                self._heads.run(len(here), self.num_threads)
                logits.append(buffers.logits[: len(here)].clone())
        config = self.lm.config
        return torch.cat(logits).unflatten(1, (config.num_codebooks, -1))[:, :, : config.codebook_size]
