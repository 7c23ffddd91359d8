"""The step loop: codes of a batch of jobs, one step of the pattern after another.

A job's codes depend on the job alone. Each row has its own noise, its own settings and its own length, and the runtime
gives it the same bits in any batch: on a CPU, in float32 and bfloat16 (`generation/batch_invariance.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descant.errors import Cancelled, CheckpointError
from descant.generation.batch_invariance import padded_rows
from descant.generation.guidance import GuidanceRows, GuidanceTerm
from descant.generation.request import Sampling
from descant.generation.runtimes import Runtime
from descant.generation.sampling import NoiseSource, SamplingRows, sample
from descant.generation.step_threads import StepThreads
from descant.lm.model import MusicLM
from descant.nn.inputs import LMInputs, stack_rows
from descant.patterns import Pattern, deinterleave, filled, interleave


@dataclass(frozen=True)
class DecodeJob:
    """Music to be generated, in the language model's terms.

    Args:
        prompt: codes that are already known, from the first frame on.
        inputs: the conditions, one row.
        guidance: classifier-free guidance, term after term. Each term takes one more row.
        noise: draws the codes; the jobs of one request share it.
    """

    num_frames: int
    prompt: Int[Tensor, "K T"]
    inputs: LMInputs
    guidance: tuple[GuidanceTerm, ...]
    sampling: Sampling
    noise: NoiseSource

    def rows(self) -> list[LMInputs]:
        """The inputs of the rows that it takes: its own, then the negative ones of its guidance."""
        return [self.inputs, *(term.negative for term in self.guidance)]


def decode(
    runtime: Runtime,
    pattern: Pattern,
    jobs: Sequence[DecodeJob],
    on_step: Callable[[int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> list[Int[Tensor, "K T"]]:
    """The codes of every job, in the order given.

    Args:
        jobs: prompts must be equally long and conditions of one length; lengths, settings and seeds may differ.
        on_step: called after each step with the number of steps done.
        cancel: asked before each step; True stops.

    Raises:
        Cancelled: ``cancel`` returned True.
        CheckpointError: the model gave logits that are not finite.
    """
    decoding = Decoding(runtime, pattern, jobs)
    while not decoding.is_done:
        if cancel is not None and cancel():
            raise Cancelled(f"stopped at step {decoding.step} of {decoding.num_steps}")
        decoding.advance()
        if on_step is not None:
            on_step(decoding.step)
    return decoding.codes()


class Decoding:
    """A batch of jobs, decoded one step at a time. ``step`` is the next one."""

    @torch.inference_mode()
    def __init__(self, runtime: Runtime, pattern: Pattern, jobs: Sequence[DecodeJob]) -> None:
        self.grid = SequenceGrid(runtime.lm, pattern, jobs)
        self.num_steps = max(self.grid.lengths)
        self.step = self.grid.first_step
        self.is_done = False
        self._batch = DecodeBatch(runtime, jobs, max_steps=self.num_steps)
        self._logits = self._batch.prefill(self.grid.sequence[:, :, : self.step])
        self._is_finite = torch.ones((), dtype=torch.bool, device=self._logits.device)
        self._threads = StepThreads(self._logits.device)

    @torch.inference_mode()
    def advance(self) -> None:
        """Draws the codes of a step, and reads them if another step follows."""
        self._is_finite &= torch.isfinite(self._logits).all()
        self.grid.write(self._batch.active, self.step, self._batch.draw(self._logits))
        self.step += 1
        unfinished = [index for index in self._batch.active if self.grid.lengths[index] > self.step]
        self.is_done = not unfinished
        if unfinished:
            self._batch.keep(unfinished)
            with self._threads.step():
                self._logits = self._batch.step(self.grid.sequence[:, :, self.step - 1 : self.step])

    def num_known(self, job: int) -> int:
        """The number of frames of a job, from the first one on, that have all their codes."""
        return int((self.grid.ready[job] < self.step).sum())

    def codes(self) -> list[Int[Tensor, "K T"]]:
        """The codes of the jobs in frame order; those that are not known yet are the special code.

        Raises:
            CheckpointError: the model gave logits that are not finite.
        """
        if not bool(self._is_finite):
            raise CheckpointError(
                "the language model gave values that are not finite numbers: its weights are broken, "
                "or the precision is too low"
            )
        return self.grid.codes()


class SequenceGrid:
    """The interleaved sequences of all jobs: the cells that are known, and those that are still to be filled."""

    def __init__(self, lm: MusicLM, pattern: Pattern, jobs: Sequence[DecodeJob]) -> None:
        device = lm.norm.weight.device
        self.tables = [pattern.steps(job.num_frames).to(device) for job in jobs]
        self.lengths = [int(table.max()) + 1 for table in self.tables]
        # The step after which a frame and all before it are known.
        self.ready = [table.amax(dim=0).cummax(dim=0).values for table in self.tables]
        shape = (len(jobs), lm.config.num_codebooks, max(self.lengths))
        self.sequence: Int[Tensor, "jobs K S"] = torch.full(shape, lm.special_code, device=device)
        self.is_open: Bool[Tensor, "jobs K S"] = torch.zeros(shape, dtype=torch.bool, device=device)
        for row, (job, table) in enumerate(zip(jobs, self.tables, strict=True)):
            known = table[:, : job.prompt.shape[-1]]
            self.sequence[row] = interleave(job.prompt[None], known, shape[-1], empty=lm.special_code)[0]
            self.is_open[row] = filled(table, shape[-1]) & ~filled(known, shape[-1])
        self.first_step = int(self.is_open.any(dim=1).any(dim=0).nonzero()[0])

    def write(self, active: list[int], step: int, codes: Int[Tensor, "R K"]) -> None:
        """Puts codes into the open cells of one step; prompt and empty cells stay as they are."""
        before = self.sequence[active, :, step]
        self.sequence[active, :, step] = torch.where(self.is_open[active, :, step], codes, before)

    def codes(self) -> list[Int[Tensor, "K T"]]:
        """The codes of the jobs in frame order."""
        return [deinterleave(row[None], table)[0] for row, table in zip(self.sequence, self.tables, strict=True)]


class DecodeBatch:
    """The rows that the runtime works on: each active job's own, then the negative ones of all first guidance terms, of
    all second ones, and so on.

    Copies of the first row pad the batch to a height that keeps rows independent of each other.
    """

    def __init__(self, runtime: Runtime, jobs: Sequence[DecodeJob], max_steps: int) -> None:
        self.lm, self.jobs = runtime.lm, jobs
        self.num_read = 0
        self.active = list(range(len(jobs)))
        self._arrange()
        inputs = stack_rows([jobs[index].rows()[row] for index, row in self._layout])
        self._session = runtime.start(inputs, len(self._layout), max_steps)

    def prefill(self, sequence: Int[Tensor, "jobs K S"]) -> Float[Tensor, "R K V"]:
        """Reads the steps that are known; gives the guided logits of the R active jobs for the step after them."""
        self.num_read = sequence.shape[-1]
        return self._guided(self._session.prefill(self._rows_of(sequence)))

    def step(self, sequence: Int[Tensor, "jobs K 1"]) -> Float[Tensor, "R K V"]:
        """Reads the next step; gives guided logits for the R active jobs. Steps of the others are left out."""
        self.num_read += 1
        return self._guided(self._session.step(self._rows_of(sequence)))

    def draw(self, logits: Float[Tensor, "R K V"]) -> Int[Tensor, "R K"]:
        """One code for every codebook of every active job, each from its own noise."""
        noise = torch.stack([self.jobs[index].noise.next() for index in self.active])
        return sample(logits, self._settings, noise.to(logits.device))

    def keep(self, active: list[int]) -> None:
        """Removes the other jobs from the batch; the cache of those that stay is kept."""
        if active == self.active:
            return
        places = {place: row for row, place in reversed([*enumerate(self._layout)])}
        self.active = active
        self._arrange()
        index = torch.tensor([places[place] for place in self._layout], device=self.lm.norm.weight.device)
        self._session.keep_rows(index)

    def _rows_of(self, sequence: Int[Tensor, "jobs K S"]) -> Int[Tensor, "B K S"]:
        return sequence[[index for index, _ in self._layout]]

    def _guided(self, logits: Float[Tensor, "B K V"]) -> Float[Tensor, "R K V"]:
        logits = logits.float()
        guided = logits[: len(self.active)]
        for term in self._guidance:
            guided = term.apply(guided, logits, self.num_read)
        return guided

    def _arrange(self) -> None:
        """Lays out the rows of the active jobs: the job of each, and the place among the rows of that job."""
        jobs, device = [self.jobs[index] for index in self.active], self.lm.norm.weight.device
        most_rows = max(1 + len(job.guidance) for job in jobs)
        layout = [
            (index, row)
            for row in range(most_rows)
            for index, job in zip(self.active, jobs, strict=True)
            if row <= len(job.guidance)
        ]
        self._guidance = [
            GuidanceRows.of(
                [job.guidance[term].scales if term < len(job.guidance) else None for job in jobs],
                first_row=layout.index(next(place for place in layout if place[1] == term + 1)),
                device=device,
            )
            for term in range(most_rows - 1)
        ]
        self._settings = SamplingRows.of([job.sampling for job in jobs], self.lm.config.codebook_size, device)
        self._layout = layout + [layout[0]] * (padded_rows(len(layout)) - len(layout))
