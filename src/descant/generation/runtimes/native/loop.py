"""Several steps in one run: each draws its codes and then reads them, without Python in between."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from llvmlite import ir
from torch import Tensor

from descant.compiled.code import F32, I64, POINTER, Code, Target, Word
from descant.compiled.library import Library, compiled_library
from descant.compiled.workers import Job, Operation
from descant.generation.runtimes.native.buffers import Buffers
from descant.generation.runtimes.native.drawing import DrawSettings, DrawWord, TermWord, draw_library
from descant.generation.runtimes.native.kernels import StateWord, TokenWord
from descant.generation.runtimes.native.packing import address_of

NUM_STEPS = 8
"""At a time, which is what a caller waits for who wants to stop: some milliseconds with models whose steps are so short
that Python between them counts."""


class AdvanceWord(Word):
    """The words of what turns to each token's next one. ``COUNTS`` is 0 where nothing is counted; ``OLDEST`` is the
    place in ``RECENT``, a row of ``WINDOW`` codes for each token, of the code that is no longer counted."""

    STRIDES = 0
    COUNTS = 1
    ROW_COUNTS = 2
    RECENT = 3
    WINDOW = 4
    OLDEST = 5


@dataclass(frozen=True, eq=False)
class RecentCodes:
    """How often each code was drawn for the first codebook in the last steps, for penalties.

    Args:
        penalties: of each row, in nats for each time.
        counts: changed by each step, as are the codes.
        codes: of the last ``n`` steps, in a ring.
        oldest: the place of the oldest.
    """

    penalties: Float[Tensor, "B 1"]
    counts: Float[Tensor, "B V_plus_1"]
    codes: Int[Tensor, "B n"]
    oldest: int


@dataclass(frozen=True, eq=False)
class Drawing:
    """How the codes of some steps are drawn.

    Args:
        terms: of guidance, as `draw_codes` takes them; the same in all steps.
        log_noise: of each step.
        job_of_row: the job of each row of logits.
        recent: None without penalties.
    """

    terms: list[tuple[int, Float[Tensor, "_ 1 1"]]]
    settings: DrawSettings
    log_noise: Float[Tensor, "steps jobs K V"]
    job_of_row: Int[np.ndarray, " B"]
    recent: RecentCodes | None


class StepLoop:
    """Up to `NUM_STEPS` steps of one number of jobs.

    Args:
        step: the operations of one step, which write logits.
    """

    def __init__(self, step: list[Operation], buffers: Buffers, num_jobs: int, num_codebooks: int, target: Target):
        self._buffers = buffers
        self._draws = np.zeros((NUM_STEPS, len(DrawWord)), np.int64)
        self._advances = np.zeros((NUM_STEPS, len(AdvanceWord)), np.int64)
        library, loop = draw_library(target), loop_library(target)
        operations = [
            operation
            for draw, advance in zip(self._draws, self._advances, strict=True)
            for operation in (
                Operation(library.address("draw_tile"), draw, num_jobs * num_codebooks),
                Operation(loop.address("advance"), advance, tiles_per_token=1),
                *step,
            )
        ]
        self._num_operations = len(operations) // NUM_STEPS
        self._job = Job(operations, buffers.state, (library, loop, buffers))

    def run(
        self,
        words: Int[np.ndarray, "B words"],
        strides: Int[np.ndarray, "B words"],
        logits: Float[Tensor, "B K V"],
        next_logits: Float[Tensor, "B K V"],
        drawing: Drawing,
        num_threads: int,
    ) -> tuple[Int[Tensor, "steps jobs K"], Float[Tensor, "steps jobs K"]]:
        """The codes of the steps and the values with which they won, as `draw_codes` gives them.

        Args:
            words, strides: of the sequences' next tokens, as `Slots.steps_ahead` gives them.
            next_logits: where each step writes, and the next one reads.
        """
        num_steps, num_jobs, num_codebooks, _ = drawing.log_noise.shape
        codes = torch.empty(num_steps, num_jobs, num_codebooks, dtype=torch.int64)
        values = torch.empty(num_steps, num_jobs, num_codebooks)
        terms = np.array([[row, len(scales), address_of(scales)] for row, scales in drawing.terms], np.int64)
        terms = terms.reshape(-1, TermWord.NUM_WORDS)
        strides[:, TokenWord.CODES] = codes.stride(0) * codes.element_size()
        words[:, TokenWord.CODES] = address_of(codes) + drawing.job_of_row * codes.stride(1) * codes.element_size()
        # Each step turns to the next token first.
        self._buffers.tokens[: len(words)] = words - strides
        self._put_draws(logits, next_logits, drawing, codes, values, terms)
        self._put_advances(strides, drawing.recent)
        self._job.run(len(words), num_threads, num_steps * self._num_operations)
        return codes, values

    def _put_draws(
        self,
        logits: Float[Tensor, "B K V"],
        next_logits: Float[Tensor, "B K V"],
        drawing: Drawing,
        codes: Int[Tensor, "steps jobs K"],
        values: Float[Tensor, "steps jobs K"],
        terms: Int[np.ndarray, "terms words"],
    ) -> None:
        words, noise, recent = self._draws, drawing.log_noise, drawing.recent
        steps = np.arange(NUM_STEPS)
        for rows, source in ((slice(0, 1), logits), (slice(1, None), next_logits)):
            words[rows, DrawWord.LOGITS] = address_of(source)
            words[rows, DrawWord.ROW_STRIDE], words[rows, DrawWord.CODEBOOK_STRIDE] = source.stride(0), source.stride(1)
        for word, tensor in ((DrawWord.LOG_NOISE, noise), (DrawWord.CODES, codes), (DrawWord.VALUES, values)):
            words[:, word] = address_of(tensor) + steps * tensor.stride(0) * tensor.element_size()
        words[:, DrawWord.NUM_CODEBOOKS], words[:, DrawWord.NUM_ENTRIES] = noise.shape[2:]
        words[:, DrawWord.TERMS], words[:, DrawWord.NUM_TERMS] = address_of(terms), len(terms)
        words[:, DrawWord.TEMPERATURES : DrawWord.ARE_GREEDY + 1] = drawing.settings.addresses
        words[:, DrawWord.PENALTIES] = 0 if recent is None else address_of(recent.penalties)
        words[:, DrawWord.COUNTS] = 0 if recent is None else address_of(recent.counts)

    def _put_advances(self, strides: Int[np.ndarray, "B words"], recent: RecentCodes | None) -> None:
        words = self._advances
        words[:, AdvanceWord.STRIDES], words[:, AdvanceWord.COUNTS] = address_of(strides), 0
        if recent is not None:
            window = recent.codes.shape[1]
            words[:, AdvanceWord.COUNTS], words[:, AdvanceWord.ROW_COUNTS] = (
                address_of(recent.counts),
                recent.counts.shape[1],
            )
            words[:, AdvanceWord.RECENT], words[:, AdvanceWord.WINDOW] = address_of(recent.codes), window
            words[:, AdvanceWord.OLDEST] = (recent.oldest + np.arange(NUM_STEPS)) % window


def loop_library(target: Target) -> Library:
    """The function that turns to the next tokens."""
    return compiled_library(target, add_advance)


def add_advance(module: ir.Module) -> None:
    """``advance(words, state, token)``: adds its strides to a token's words, and counts the first of its codes."""
    code = Code(module, "advance", [POINTER, POINTER, I64])
    words, state, token = code.function.args
    tokens, strides = code.pointer_at(state, StateWord.TOKENS), code.pointer_at(words, AdvanceWord.STRIDES)
    first = code.mul(token, I64(TokenWord.NUM_WORDS))
    with code.for_range(I64(0), I64(TokenWord.NUM_WORDS)) as word:
        place = code.add(first, word)
        code.write(code.add(code.read(tokens, place, I64), code.read(strides, place, I64)), tokens, place)
    counted = code.read(words, I64(AdvanceWord.COUNTS), I64)
    with code.if_then(code.icmp_signed("!=", counted, I64(0))):
        counts, recent = (code.pointer_at(words, word) for word in (AdvanceWord.COUNTS, AdvanceWord.RECENT))
        window, oldest, row = (
            code.read(words, I64(word), I64)
            for word in (AdvanceWord.WINDOW, AdvanceWord.OLDEST, AdvanceWord.ROW_COUNTS)
        )
        place = code.add(code.mul(token, window), oldest)
        drawn = code.inttoptr(code.read(tokens, code.add(first, I64(TokenWord.CODES)), I64), POINTER)
        new, old = code.read(drawn, I64(0), I64), code.read(recent, place, I64)
        for entry, change in ((new, 1.0), (old, -1.0)):
            at = code.add(code.mul(token, row), entry)
            code.write(code.fadd(code.read(counts, at), F32(change)), counts, at)
        code.write(new, recent, place)
    code.ret_void()
