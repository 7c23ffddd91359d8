"""The jobs that are decoded side by side, from one that joins or leaves to the next: how their next codes are drawn."""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.errors import CheckpointError
from descant.generation.decode_job import Decoding
from descant.generation.draw import CompiledDraw, Draw, Term, copy_without_waiting
from descant.generation.guidance import GuidanceRows
from descant.generation.holds import HoldPenalties
from descant.generation.runtimes.native.loop import Drawing
from descant.generation.sampling import SamplingRows


class DecodeBatch:
    """Jobs in a fixed arrangement. Those with the most guidance terms come first, so that the jobs that have a term are
    always the first ones.

    Their B rows are each job's own, then those that the first term pushes away from, then those of the second term, and
    so on. Codes are kept for many steps before they are written into the jobs' sequences.

    Attributes:
        slots: the slot of each row in the session.
    """

    def __init__(self, decodings: Iterable[Decoding], num_entries: int, device: torch.device, draw: Draw) -> None:
        self._draw = draw
        self.decodings = sorted(decodings, key=lambda decoding: -decoding.job.num_rows)
        self.device = device
        jobs = [decoding.job for decoding in self.decodings]
        most_rows = max((job.num_rows for job in jobs), default=0)
        with_row = [[index for index, job in enumerate(jobs) if job.num_rows > row] for row in range(most_rows)]
        self.slots = [self.decodings[index].slots[row] for row, indices in enumerate(with_row) for index in indices]
        job_of_row = [index for indices in with_row for index in indices]
        self._job_of_row = torch.tensor(job_of_row, dtype=torch.long, device=device)
        starts = [sum(map(len, with_row[:row])) for row in range(most_rows)]
        self._guidance = [
            GuidanceRows([jobs[index].guidance[row - 1] for index in with_row[row]], starts[row], device)
            for row in range(1, most_rows)
        ]
        self._settings = SamplingRows.of([job.sampling for job in jobs], num_entries, device)
        self._holds = HoldPenalties(self.decodings, num_entries, self._job_of_row)
        self._noise: Float[Tensor, "n jobs K V"] = torch.empty(0)
        self._num_entries = num_entries
        self._drawn: list[Int[Tensor, "jobs K"]] = []
        self._scores: list[Float[Tensor, "jobs K"]] = []

    def draw(self, logits: Float[Tensor, "B K V"]) -> Int[Tensor, "jobs K"]:
        """The codes of each job's next step, which is then behind it; the cells that are given stay as they are.

        Args:
            logits: changed by penalties.
        """
        self._holds.subtract_from(logits)
        drawn, scores = self._draw(logits, self._terms(), self._settings, self._noise_ahead()[0])
        self._use_noise(1)
        self._scores.append(scores)
        if not all(decoding.is_all_open for decoding in self.decodings):
            is_open = torch.stack([decoding.open_cells for decoding in self.decodings])
            given = torch.stack([decoding.given_codes for decoding in self.decodings])
            drawn = torch.where(is_open, drawn, given)
        self._holds.add(drawn)
        self._drawn.append(drawn)
        for decoding in self.decodings:
            decoding.step += 1
        return drawn

    def drawing(self, most: int) -> Drawing | None:
        """How the next steps are drawn, up to ``most``, where a compiled loop can draw them and more follow; None where
        it cannot draw two."""
        settings = None
        if most > 1 and self.decodings and isinstance(self._draw, CompiledDraw):
            settings = self._draw.settings_of(self._settings, len(self.decodings), self._num_entries)
        if settings is None or not all(term.is_constant for term in self._guidance):
            return None
        num_steps = min(decoding.num_all_open(most) for decoding in self.decodings)
        noise = self._noise_ahead()[:num_steps]
        if len(noise) < 2:
            return None
        terms = [(term.first_row, term.scales) for term in self._terms()]
        return Drawing(terms, settings, noise, self._job_of_row.numpy(), self._holds.recent)

    def take(self, drawn: Int[Tensor, "steps jobs K"], scores: Float[Tensor, "steps jobs K"]) -> None:
        """Keeps the codes of steps that were drawn as ``drawing`` says, and the values with which they won; the steps
        are then behind the jobs."""
        self._drawn += drawn.unbind()
        self._scores += scores.unbind()
        self._use_noise(len(drawn))
        self._holds.advance(len(drawn))
        for decoding in self.decodings:
            decoding.step += len(drawn)

    def rows_of(self, codes: Int[Tensor, "jobs K"]) -> Int[Tensor, "B K"]:
        """The codes of each row."""
        return codes.index_select(0, self._job_of_row)

    def write(self) -> None:
        """Writes the codes that were drawn since the last time into the sequences of their jobs.

        Raises:
            CheckpointError: the logits of one of them were not finite.
        """
        if not self._drawn:
            return
        if not bool(torch.stack(self._scores).isfinite().all()):
            raise CheckpointError(
                "the language model gave values that are not finite numbers: its weights are broken, "
                "or the precision is too low"
            )
        for decoding, columns in zip(self.decodings, torch.stack(self._drawn, dim=1), strict=True):
            decoding.write(columns)
        self._drawn, self._scores = [], []

    def _terms(self) -> list[Term]:
        steps = [decoding.step for decoding in self.decodings]
        return [Term(term.first_row, term.scales_at(steps)) for term in self._guidance]

    def _noise_ahead(self) -> Float[Tensor, "n jobs K V"]:
        """The logarithm of each job's noise. It is collected for as many steps as every job has some in its block."""
        if not len(self._noise):
            ahead = [decoding.job.noise.ahead() for decoding in self.decodings]
            num_steps = min(map(len, ahead))
            steps = torch.stack([noise[:num_steps] for noise in ahead], dim=1)
            self._noise = copy_without_waiting(steps, self.device)
        return self._noise

    def _use_noise(self, num_steps: int) -> None:
        self._noise = self._noise[num_steps:]
        for decoding in self.decodings:
            decoding.job.noise.use(num_steps)
