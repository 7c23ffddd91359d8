"""The codes of many requests: each thread decodes some of them side by side, and takes the next when it has room.

Weights that fit into the processor's cache cost nothing to read again. Threads then execute whole steps, each for
requests of its own, and never wait for each other. Other weights are read once a step for all requests, by one session
whose steps are shared by the threads. So the runtime says how many sessions there should be.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from threading import Event
from typing import TypeAlias

from descant.errors import Cancelled
from descant.generation.decode import Decoder
from descant.generation.decode_job import Decoding
from descant.generation.plan import Window
from descant.generation.runtimes import Runtime
from descant.generation.state import GenerationState
from descant.nn.settings import own_settings
from descant.patterns import Pattern

Work: TypeAlias = tuple[GenerationState, Runtime]
Running: TypeAlias = dict[Decoding, tuple[GenerationState, Runtime, Window]]

REPORT_S = 0.02
"""How often progress is reported once the caller's thread has no requests left."""


def complete_codes(
    works: Sequence[Work],
    pattern: Pattern,
    max_batch: int,
    progress: Callable[[int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> None:
    """Completes the codes of all requests but those that their audition ends early.

    Args:
        max_batch: the most requests that are decoded at a time, in all threads together.
        progress: called with the number of steps done, after steps of the caller's thread.
        cancel: called before steps of the caller's thread, and before it prepares a request; True stops everything.

    Raises:
        Cancelled: ``cancel`` returned True.
        CheckpointError: the model gave logits that are not finite.
    """
    num_threads = max(1, min(len(works), max_batch, *(runtime.num_sessions() for _, runtime in works)))
    waiting, most = deque(works), -(-len(works) // num_threads)
    make = partial(_Share, waiting, partial(Decoder, pattern=pattern, is_alone=num_threads > 1))
    shares = [make(min(most, (max_batch + index) // num_threads)) for index in range(num_threads)]
    others: list[Future[None]] = []
    num_reported, is_over = 0, Event()

    def check(when: str) -> None:
        if cancel is not None and cancel():
            raise Cancelled(f"stopped {when}")
        for other in others:
            if other.done():
                other.result()  # raises its error

    def check_over(when: str) -> None:
        if is_over.is_set():
            raise Cancelled(f"stopped {when}")

    def report() -> None:
        nonlocal num_reported
        num_done = sum(share.num_done for share in shares)
        if progress is not None and num_done > num_reported:
            num_reported = num_done
            progress(num_done)

    with ThreadPoolExecutor(num_threads, "descant-decode") as threads:
        others += [threads.submit(own_settings()(share.complete), check_over) for share in shares[1:]]
        try:
            shares[0].complete(check, report)
            while wait(others, REPORT_S).not_done:
                check("between two steps")
                report()
        finally:
            is_over.set()
    check("after the last step")
    report()


class _Share:
    """What one thread decodes.

    Args:
        waiting: requests that no thread has begun, or whose next window may begin.
        start: gives a decoder for a runtime.
        room: the most requests at a time.

    Attributes:
        num_done: the number of steps done.
    """

    def __init__(self, waiting: deque[Work], start: Callable[[Runtime], Decoder], room: int) -> None:
        self._waiting, self._start, self._room = waiting, start, room
        self.num_done = 0

    def complete(self, check: Callable[[str], None], report: Callable[[], None] = lambda: None) -> None:
        """Completes requests until none is waiting.

        The next window of a request joins as soon as the one before is complete, and the next request as soon as there
        is room. Requests with the same adapters are decoded together.

        Args:
            check: raises an error to stop.
            report: called after each step.
        """
        running: Running = {}
        decoders: dict[Runtime, Decoder] = {}
        num_complete = 0
        with ExitStack() as stack:
            while True:
                while len(running) < self._room and (work := self._next()) is not None:
                    check("while the next steps were prepared")
                    state, runtime = work
                    if runtime not in decoders:
                        decoders[runtime] = stack.enter_context(self._start(runtime))
                    window = state.next_window
                    running[decoders[runtime].join(state.job(window))] = (state, runtime, window)
                if not running:
                    return
                check("between two steps")
                for runtime, decoder in decoders.items():
                    num_complete += self._advance(decoder, runtime, running)
                self.num_done = num_complete + sum(decoding.step for decoding in running)
                report()

    def _advance(self, decoder: Decoder, runtime: Runtime, running: Running) -> int:
        """Draws some steps. Gives the number of those of windows that are complete, and of music that ends early."""
        done = decoder.advance(decoder.steps_at_once) if decoder.active else []
        for decoding, (state, own, window) in running.items():
            if own is runtime:
                state.listen(decoding, decoder, window)
        for decoding in done:
            state, _, window = running.pop(decoding)
            state.append(decoder.codes(decoding), window)
            if not state.is_complete:
                self._waiting.appendleft((state, runtime))
        over = [decoding for decoding in decoder.active if running[decoding][0].is_over]
        num_left = sum(running.pop(decoding)[0].num_steps_left for decoding in over)
        for decoding in over:
            decoder.leave(decoding)
        return num_left + sum(decoding.num_steps for decoding in done)

    def _next(self) -> Work | None:
        try:
            return self._waiting.popleft()
        except IndexError:  # another thread may have taken the last one
            return None
