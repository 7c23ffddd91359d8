"""The number of threads of a step: all, or one where that is faster at the moment.

Next to busy processes several threads can be slower than one: each waits for tiles that others began before they lost
their processors. On a quiet machine small steps gain little from several. What is faster cannot be known beforehand
(quotas, other guests of a virtual machine), so both are timed, again and again. A step has the same bits with any
number of threads.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

WINDOW_S, WINDOW_STEPS = 0.03, 3
"""A number of threads is timed over at least this long and this many steps: some turns of the processor's scheduler."""

FASTER, SLOWER = 0.9, 2.0
"""The other number is chosen if it takes less than this share of the time. When steps with several threads take this
many times as long as when they were last compared, one thread is tried at once."""

TRIAL_SHARE = 0.03
"""The share of the time that unsuccessful trials may cost."""

MIN_PAUSE_S, MAX_PAUSE_S = 0.25, 10.0
"""Between two trials."""


class TeamSize:
    """Chooses between one thread and ``num_threads`` for steps of one caller.

    Args:
        num_threads: the most, and at first the number that is used.
        clock: the time in seconds.
    """

    def __init__(self, num_threads: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.num_threads = num_threads
        self._all, self._clock = num_threads, clock
        self._usual = num_threads
        self._usual_s: float | None = None
        """Seconds of a step with the usual number, in its last window."""
        self._compared_s: float | None = None
        """The same when the numbers were last compared."""
        self._next_trial = clock()
        self._num_tokens = 0
        self._begin_window()

    @contextmanager
    def step(self, num_tokens: int, num_steps: int = 1) -> Iterator[None]:
        """Times a step, or several, that use ``num_threads``. Only steps of as many tokens are compared."""
        if num_tokens != self._num_tokens:
            self._num_tokens, self._usual_s, self._compared_s = num_tokens, None, None
            self.num_threads = self._usual
            self._begin_window()
        began = self._clock()
        yield
        self._window_s += self._clock() - began
        self._window_steps += num_steps
        if self._all > 1 and self._window_s >= WINDOW_S and self._window_steps >= WINDOW_STEPS:
            self._end_window(self._window_s / self._window_steps)
            self._begin_window()

    def _begin_window(self) -> None:
        self._window_s, self._window_steps = 0.0, 0

    def _end_window(self, step_s: float) -> None:
        now = self._clock()
        if self.num_threads == self._usual:
            self._usual_s = step_s
            if now >= self._next_trial or self._is_much_slower(step_s):
                self.num_threads = 1 if self._usual > 1 else self._all
                self._next_trial = now + MIN_PAUSE_S  # also if another batch ends it early
            return
        assert self._usual_s is not None  # a trial follows a window with the usual number
        loss_s = self._window_s - self._window_steps * self._usual_s
        if step_s < FASTER * self._usual_s:
            self._usual, self._usual_s = self.num_threads, step_s
            loss_s = 0.0
        self.num_threads, self._compared_s = self._usual, self._usual_s
        self._next_trial = now + min(max(MIN_PAUSE_S, loss_s / TRIAL_SHARE), MAX_PAUSE_S)

    def _is_much_slower(self, step_s: float) -> bool:
        return self._usual > 1 and self._compared_s is not None and step_s > SLOWER * self._compared_s
