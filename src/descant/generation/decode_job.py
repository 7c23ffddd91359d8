"""A job for the step loop, and how far it is."""

from bisect import bisect_left
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from descant.generation.guidance import Scales
from descant.generation.request import Sampling
from descant.generation.sampling import NoiseSource
from descant.nn.inputs import LMInputs
from descant.patterns import Pattern, deinterleave, filled, interleave


@dataclass(frozen=True, eq=False)
class DecodeJob:
    """Music to be generated, in the language model's terms.

    Args:
        prompt: codes that are already known, from the first frame on.
        inputs: the conditions, a row each: the job's own, then those that each guidance term pushes away from.
        guidance: the scales of the guidance terms. A job applies its terms in their order: first away from itself
            without its text, say, and then away from the null condition (arXiv 2407.12563, section 4.3).
        noise: draws the codes; the jobs of one request share it, one after another.
    """

    num_frames: int
    prompt: Int[Tensor, "K T"]
    inputs: LMInputs
    guidance: tuple[Scales, ...]
    sampling: Sampling
    noise: NoiseSource

    @property
    def num_rows(self) -> int:
        """The number of sequences that it takes."""
        return 1 + len(self.guidance)


class Decoding:
    """A job while it is decoded: its interleaved sequence, of which the cells before ``step`` are known.

    Args:
        special_code: stands in cells without a code.

    Attributes:
        step: the step that is drawn next.
        num_steps: the number of all steps.
        slots: of its sequences in the session, its own first.
    """

    def __init__(self, job: DecodeJob, pattern: Pattern, special_code: int) -> None:
        self.job = job
        self.slots: list[int] = []
        self._pattern, self._special_code = pattern, special_code
        self.step = self._lay_out(job.num_frames)

    def shorten(self, num_frames: int) -> None:
        """Ends the job after ``num_frames`` frames, as if it had been as long from the start.

        Args:
            num_frames: at least ``num_begun``, and at most as many as now.
        """
        drawn = self._sequence[:, : self.step]
        self._lay_out(num_frames)
        self._sequence[:, : self.step] = drawn

    def _lay_out(self, num_frames: int) -> int:
        """Prepares the sequence of so many frames, and gives its first step with a cell to be drawn."""
        self._table = self._pattern.steps(num_frames)
        self.num_steps = int(self._table.max()) + 1
        prompt = self.job.prompt
        known = self._table[:, : prompt.shape[-1]]
        self._sequence = interleave(prompt[None], known, self.num_steps, empty=self._special_code)[0]
        is_open = filled(self._table, self.num_steps) & ~filled(known, self.num_steps)
        self._is_all_open: list[bool] = is_open.all(dim=0).tolist()
        self._open_cells = is_open.T.contiguous().to(prompt.device).unbind()
        self._cells = self._sequence.T.contiguous().unbind()
        # The step after which a frame and all before it are known.
        self._known_after: list[int] = self._table.amax(dim=0).cummax(dim=0).values.tolist()
        return int(is_open.any(dim=0).nonzero()[0])

    @property
    def is_done(self) -> bool:
        """Whether all steps are drawn."""
        return self.step == self.num_steps

    @property
    def num_known(self) -> int:
        """The number of frames, from the first one on, that have all their codes."""
        return bisect_left(self._known_after, self.step)

    @property
    def num_begun(self) -> int:
        """The number of frames of which any code is known."""
        return int((self._table < self.step).any(dim=0).sum())

    @property
    def is_all_open(self) -> bool:
        """Whether all cells of the next step are to be drawn."""
        return self._is_all_open[self.step]

    def num_all_open(self, most: int) -> int:
        """The number of next steps, up to ``most``, of which all cells are to be drawn and that others follow."""
        ahead = self._is_all_open[self.step : min(self.step + most, self.num_steps - 1)]
        return next((index for index, is_open in enumerate(ahead) if not is_open), len(ahead))

    @property
    def open_cells(self) -> Bool[Tensor, " K"]:
        """The cells of the next step that are to be drawn."""
        return self._open_cells[self.step]

    @property
    def given_codes(self) -> Int[Tensor, " K"]:
        """What the other cells of the next step hold: codes of the prompt, or the special code."""
        return self._cells[self.step]

    @property
    def known_steps(self) -> Int[Tensor, "K S"]:
        """The steps before the next one."""
        return self._sequence[:, : self.step]

    def recent_codes(self, num_steps: int) -> Int[Tensor, " n"]:
        """What the cells of the first codebook hold in the last steps; the special code before the first step."""
        special = self._sequence.new_full((num_steps,), self._special_code)
        return torch.cat([special, self._sequence[0, : self.step]])[-num_steps:]

    def write(self, columns: Int[Tensor, "n K"]) -> None:
        """Puts in the codes of the last ``n`` steps."""
        self._sequence[:, self.step - len(columns) : self.step] = columns.T

    def codes(self) -> Int[Tensor, "K T"]:
        """The codes in frame order; those that are not known yet are the special code."""
        return deinterleave(self._sequence[None], self._table)[0]
