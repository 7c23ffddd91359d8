"""The step loop: codes of a batch of requests, one step of the pattern after another.

A request's codes depend on the request alone. Each row has its own noise, its own settings and its own length, and the
matrix products give it the same bits in any batch (`nn/batch_invariance.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from descant.errors import Cancelled, CheckpointError
from descant.generation.guidance import GuidanceTerm, guide
from descant.generation.request import Sampling
from descant.generation.runtimes import Runtime
from descant.generation.sampling import NoiseSource, SamplingRows, sample
from descant.generation.step_threads import StepThreads
from descant.lm.model import MusicLM
from descant.nn.batch_invariance import FEWEST_ROWS
from descant.nn.inputs import LMInputs, stack_rows
from descant.nn.kv_cache import StaticCache
from descant.patterns import Pattern, deinterleave, filled, interleave

PREFILL_STEPS = 16


@dataclass(frozen=True)
class DecodeJob:
    """Codes to generate, in the language model's terms.

    Args:
        prompt: codes that are already known, from the first frame on.
        inputs: the conditions, one row.
        guidance: terms in the order in which they apply; none for plain sampling.
        noise: draws the codes; it is continued from job to job of one request.
    """

    num_frames: int
    prompt: Int[Tensor, "K T"]
    inputs: LMInputs
    guidance: tuple[GuidanceTerm, ...]
    sampling: Sampling
    noise: NoiseSource

    @property
    def rows(self) -> list[LMInputs]:
        """The inputs of all rows that it needs."""
        return [self.inputs, *(term.negative for term in self.guidance)]


def decode(
    runtime: Runtime,
    pattern: Pattern,
    jobs: list[DecodeJob],
    on_step: Callable[[int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> list[Int[Tensor, "K T"]]:
    """The codes of every job, in the order given.

    Args:
        jobs: pieces whose prompts are equally long and whose conditions have one length; lengths, settings and seeds
            may differ.
        on_step: called after each step with the number of steps done.
        cancel: asked before each step; True stops.

    Raises:
        Cancelled: ``cancel`` said so.
        CheckpointError: the model gave logits that are no numbers.
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
    """Jobs on their way, a step at a time. ``step`` is the one that comes next."""

    @torch.inference_mode()
    def __init__(self, runtime: Runtime, pattern: Pattern, jobs: list[DecodeJob]) -> None:
        lm = runtime.lm
        self.grid = SequenceGrid(lm, pattern, jobs)
        self.num_steps = max(self.grid.lengths)
        self.step = self.grid.first_step
        self.is_done = False
        self._rows = DecodeBatch(lm, jobs, max_steps=self.num_steps)
        self._logits = self._rows.prefill(self.grid.sequence[:, :, : self.step])
        self._is_sound = torch.ones((), dtype=torch.bool, device=self._logits.device)
        self._threads = StepThreads(self._logits.device)

    @torch.inference_mode()
    def advance(self) -> None:
        """Draws the codes of a step, and reads them where there is a step after it."""
        self._is_sound &= torch.isfinite(self._logits).all()
        self.grid.write(self._rows.active, self.step, self._rows.draw(self._logits))
        self.step += 1
        unfinished = [index for index in self._rows.active if self.grid.lengths[index] > self.step]
        self.is_done = not unfinished
        if unfinished:
            self._rows.keep(unfinished)
            with self._threads.step():
                self._logits = self._rows.step(self.grid.sequence[:, :, self.step - 1 : self.step])

    def num_known(self, job: int) -> int:
        """How many frames of a job, from the first one on, have all their codes."""
        return int((self.grid.ready[job] < self.step).sum())

    def codes(self) -> list[Int[Tensor, "K T"]]:
        """The jobs in frame order; what is not known yet is the special code.

        Raises:
            CheckpointError: the model gave logits that are no numbers.
        """
        if not bool(self._is_sound):
            raise CheckpointError("the language model gave values that are no numbers: its weights are broken")
        return self.grid.codes()


class SequenceGrid:
    """The interleaved sequences of all jobs: what is known, and which cells are still to be filled."""

    def __init__(self, lm: MusicLM, pattern: Pattern, jobs: list[DecodeJob]) -> None:
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
        """Puts codes into the cells of one step that are open; prompt and empty cells stay what they are."""
        before = self.sequence[active, :, step]
        self.sequence[active, :, step] = torch.where(self.is_open[active, :, step], codes, before)

    def codes(self) -> list[Int[Tensor, "K T"]]:
        """The finished pieces in frame order."""
        return [deinterleave(row[None], table)[0] for row, table in zip(self.sequence, self.tables, strict=True)]


class DecodeBatch:
    """The rows that the language model works on: each active job, then what guided jobs are pushed away from: first
    from themselves without their text or their melody, for those that ask for it, and then from their negative.

    Copies of the first row fill up to the height that keeps rows independent of each other.
    """

    def __init__(self, lm: MusicLM, jobs: list[DecodeJob], max_steps: int) -> None:
        self.lm, self.jobs = lm, jobs
        self.active = list(range(len(jobs)))
        self._layout = self._arrange()
        self.inputs = stack_rows([jobs[index].rows[role] for index, role in self._layout])
        self.cache: StaticCache = lm.new_cache(len(self._layout), max_steps, self.inputs)

    def prefill(self, sequence: Int[Tensor, "jobs K S"]) -> Float[Tensor, "R K V"]:
        """Reads the steps that are known; gives the guided logits of the step after them.

        In pieces of one length, since a matrix product of another height may give other last bits.
        """
        whole = sequence.shape[-1] // PREFILL_STEPS * PREFILL_STEPS
        pieces = [*sequence[:, :, :whole].split(PREFILL_STEPS, dim=-1)] if whole else []
        pieces += sequence[:, :, whole:].split(1, dim=-1) if whole < sequence.shape[-1] else []
        for piece in pieces:
            logits = self.step(piece)
        return logits

    def step(self, sequence: Int[Tensor, "jobs K S"]) -> Float[Tensor, "R K V"]:
        """Reads new steps; gives guided logits for the R active jobs. Steps of the others are left out."""
        predicted = self.cache.position - self.inputs.prefix_steps + sequence.shape[-1]
        if self.cache.position == 0:
            predicted = sequence.shape[-1]
        codes = sequence[[index for index, _ in self._layout]]
        logits = self.lm(codes, self.inputs, self.cache)[:, :, -1].float()
        towards = logits[: len(self.active)]
        for guidance in self._guidances:
            # Selected, so that a job without this guidance keeps its logits to the last bit.
            scale = guidance.scales[:, :, min(predicted, guidance.scales.shape[2] - 1)][:, :, None]
            guided = guide(towards, logits[guidance.away_from], scale)
            towards = torch.where(guidance.is_wanted, guided, towards)
        return towards

    def draw(self, logits: Float[Tensor, "R K V"]) -> Int[Tensor, "R K"]:
        """One code for every codebook of every active job, each from its own noise."""
        noise = torch.stack([self.jobs[index].noise.next() for index in self.active])
        return sample(logits, self._settings, noise.to(logits.device))

    def keep(self, active: list[int]) -> None:
        """Lets the other jobs leave; those that stay keep their memory."""
        if active == self.active:
            return
        places = {place: row for row, place in reversed([*enumerate(self._layout)])}
        self.active = active
        self._layout = self._arrange()
        index = torch.tensor([places[place] for place in self._layout], device=self.lm.norm.weight.device)
        self.cache.keep_rows(index)
        self.inputs = self.inputs.rows(index)

    def _arrange(self) -> list[tuple[int, int]]:
        """Which job each row works for, and which of its rows it is."""
        device = self.lm.norm.weight.device
        active = [self.jobs[index] for index in self.active]
        num_roles = 1 + max(len(job.guidance) for job in active)
        layout = [(index, role) for role in range(num_roles) for index in self.active if self._has_role(index, role)]
        self._guidances = [GuidanceRows.of(active, self.active, layout, role, device) for role in range(1, num_roles)]
        self._settings = SamplingRows.of(
            [self.jobs[index].sampling for index in self.active], self.lm.config.codebook_size, device
        )
        height = max(FEWEST_ROWS, 1 << (len(layout) - 1).bit_length())
        return layout + [layout[0]] * (height - len(layout))

    def _has_role(self, index: int, role: int) -> bool:
        return role < len(self.jobs[index].rows)


@dataclass(frozen=True)
class GuidanceRows:
    """One guidance of R active jobs: the row that each is pushed away from, if it wants that, and how far at each
    step; the last step's scale is that of all later ones."""

    away_from: Int[Tensor, " R"]
    is_wanted: Bool[Tensor, "R 1 1"]
    scales: Float[Tensor, "R 1 S"]

    @classmethod
    def of(
        cls, jobs: list[DecodeJob], active: list[int], layout: list[tuple[int, int]], role: int, device: torch.device
    ) -> "GuidanceRows":
        """The guidance of the terms that have one position in their jobs' lists; ``role`` counts from 1."""
        rows = {index: row for row, (index, of_role) in enumerate(layout) if of_role == role}
        scales = [job.guidance[role - 1].scales if role <= len(job.guidance) else torch.ones(1) for job in jobs]
        longest = max(len(of_job) for of_job in scales)
        padded = [F.pad(of_job, (0, longest - len(of_job)), value=float(of_job[-1])) for of_job in scales]
        return cls(
            torch.tensor([rows.get(index, 0) for index in active], device=device),
            torch.tensor([index in rows for index in active], device=device).reshape(-1, 1, 1),
            torch.stack(padded).to(device).unsqueeze(1),
        )
