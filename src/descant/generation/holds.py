"""Sounds that do not end: codes of the first codebook that fill the last half second become less likely.

A small model that has held a note for a while predicts that it goes on, and its own music then confirms it. The codes
of the first codebook say what sounds; those of a held note are few and come again in nearly every frame, those of
moving music are many. Each loses ``hold_penalty`` nats times the share of the last frames that it was drawn for.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descant.generation.decode_job import Decoding
from descant.generation.runtimes.native.loop import RecentCodes

WINDOW_STEPS = 25
"""Half a second at 50 frames a second: about a beat, so that repeated notes lose less than held ones."""


class HoldPenalties:
    """The penalties of jobs side by side, and the codes that they drew last.

    Args:
        job_of_row: the job of each of the B rows of logits. All rows of a job lose the same, so that guidance leaves
            the penalties as they are.
    """

    def __init__(self, decodings: Sequence[Decoding], num_entries: int, job_of_row: Int[Tensor, " B"]) -> None:
        penalties = [0.0 if one.job.sampling.greedy else one.job.sampling.hold_penalty for one in decodings]
        self._is_needed = any(penalties)
        if not self._is_needed:
            return
        device = job_of_row.device
        self._num_entries, self._job_of_row, self._oldest = num_entries, job_of_row, 0
        self._penalties = (torch.tensor(penalties, device=device) / WINDOW_STEPS)[job_of_row, None]
        # Cells before the first step hold the special code, which has no logit.
        recent = torch.stack([one.recent_codes(WINDOW_STEPS) for one in decodings]).to(device)
        self._recent: Int[Tensor, "B n"] = recent[job_of_row]
        counts = torch.zeros(len(job_of_row), num_entries + 1, device=device)
        self._counts = counts.scatter_add_(1, self._recent, torch.ones_like(self._recent, dtype=counts.dtype))
        self._change = torch.tensor([1.0, -1.0], device=device).expand(len(job_of_row), 2)

    def subtract_from(self, logits: Float[Tensor, "B K V"]) -> None:
        """Takes the penalties off the logits."""
        if self._is_needed:
            logits[:, 0] -= (self._penalties * self._counts[:, : self._num_entries]).to(logits.dtype)

    def add(self, codes: Int[Tensor, "jobs K"]) -> None:
        """The codes of a step that was drawn, in place of the oldest ones."""
        if not self._is_needed:
            return
        new, old = codes[:, 0].index_select(0, self._job_of_row), self._recent[:, self._oldest]
        self._counts.scatter_add_(1, torch.stack([new, old], dim=1), self._change)
        old.copy_(new)
        self.advance(1)

    @property
    def recent(self) -> RecentCodes | None:
        """What the penalties are made of, to be changed in place; None without any."""
        if not self._is_needed:
            return None
        return RecentCodes(self._penalties, self._counts, self._recent, self._oldest)

    def advance(self, num_steps: int) -> None:
        """Turns the ring, after codes were put in."""
        if self._is_needed:
            self._oldest = (self._oldest + num_steps) % WINDOW_STEPS
