"""The number of threads for decoding steps: all or one, whichever is faster at the moment.

All threads are faster on a quiet machine, and many times slower next to other work: a step has hundreds of places where
threads wait for each other, and each wait lasts until the operating system runs the one that is missing. Small models
gain little from threads anyway. Neither can be known in advance, so steps are timed. A row has the same bits with any
number of threads (`tests/generation/test_batch_invariance.py`), so the choice changes no music.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from descant.threads import threads_of_caller

TRIAL_STEPS = 3
FIRST_STAY = 32
LONGEST_STAY = 512
SLOWED_DOWN = 2.0


class FasterChoice:
    """Which of two ways of doing the same steps to take next, from the seconds that each took.

    The other way is tried for ``TRIAL_STEPS`` steps after the first 4. After a trial that changes the choice the next
    one follows in 32 steps; after one that does not, in twice as many as before: 64, 128 and so on up to 512. A trial
    begins at once when steps take twice as long as they did when the choice was made.
    """

    def __init__(self) -> None:
        self.current = 0
        self._recent: list[float] = []
        self._usual_s = 0.0
        self._is_trial = False
        self._stay = FIRST_STAY
        self._left = TRIAL_STEPS + 1

    def observe(self, seconds: float) -> None:
        """Records the time of a step that was done in the ``current`` way, and decides which way is next."""
        self._recent = [*self._recent[1 - TRIAL_STEPS :], seconds]
        self._left -= 1
        mean_s = sum(self._recent) / len(self._recent)
        is_full = len(self._recent) == TRIAL_STEPS
        if self._is_trial:
            if is_full:
                self._decide(mean_s)
        elif is_full and (self._left <= 0 or (self._usual_s and mean_s > SLOWED_DOWN * self._usual_s)):
            self._usual_s, self._is_trial = mean_s, True
            self._switch()

    def _decide(self, other_s: float) -> None:
        self._is_trial = False
        if other_s < self._usual_s:
            self._usual_s, self._stay = other_s, FIRST_STAY
        else:
            self._stay = min(2 * self._stay, LONGEST_STAY)
            self._switch()
        self._left = self._stay

    def _switch(self) -> None:
        self.current, self._recent = 1 - self.current, []


class StepThreads:
    """Runs each step of one decoding with all threads or with one."""

    def __init__(self, device: torch.device) -> None:
        self._has_choice = device.type == "cpu" and torch.get_num_threads() > 1
        self._choice = FasterChoice()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Inside the context the chosen number of threads, the usual number after it."""
        if not self._has_choice:
            yield
            return
        with threads_of_caller(1 if self._choice.current == 1 else torch.get_num_threads()):
            began = time.perf_counter()
            yield
            self._choice.observe(time.perf_counter() - began)
