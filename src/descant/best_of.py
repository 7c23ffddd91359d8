"""The best of several candidates: the same request with successive seeds. They are scored by how well they fit their
prompt, and by whether they move; those that stand still in their first two seconds are dropped.

The result follows from all candidates by a rule, however many are made at a time: the one with the highest score, and
the first of equal ones, among those that are not dropped. Those after a full score cannot win and need not be made. If
all would be dropped, the one that moves most is kept.
"""

import math
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from descant.audio import Clip, integrated_loudness
from descant.errors import InvalidRequest, naming
from descant.generation.audition import Audition
from descant.generation.request import Request
from descant.nn.settings import own_settings
from descant.seeds import successive_seeds

if TYPE_CHECKING:
    from descant.evaluation.agreement import Target

MAX_CANDIDATES = 64
FULL_SCORE = 1.0
FIRST_ROUND = 2
"""Candidates that are made before it is seen whether others can still win: most of the starter's have a full score."""
HELD_S = 1.9
"""The whole beginning but for a frame of 0.1 s."""
MIN_ONSETS = 2
"""In the first two seconds: half of what nearly all music has (``movement.USUAL_ONSETS_PER_SECOND``)."""

Wave = Float[Tensor, "C N"]


@dataclass(frozen=True)
class Beginning:
    """How much the first two seconds of a candidate move."""

    is_audible: bool
    held_s: float
    num_onsets: int

    @property
    def fault(self) -> str | None:
        """Why the candidate stands still; None if it does not."""
        if not self.is_audible:
            return "silence"
        if self.num_onsets < MIN_ONSETS:
            return "few onsets"
        return "one held sound" if self.held_s >= HELD_S else None

    @property
    def rank(self) -> tuple[bool, float, int]:
        """Larger the more it moves."""
        return self.is_audible, -self.held_s, self.num_onsets


class Choice:
    """The candidates of one request, and which of them is the best. Threads may share it.

    Args:
        count: the number of candidates. With one, nothing is judged.

    Raises:
        InvalidRequest: the count is out of range, or the request asks for nothing that can be scored.
        MissingExtra: the library that estimates tempo and key is not installed.
    """

    def __init__(self, request: Request, count: int) -> None:
        self.requests = candidates(request, count)
        self._target = None if count == 1 else _target(request)
        self._beginnings: dict[int, Beginning] = {}
        self._clips: dict[int, Clip] = {}
        self._scores: dict[int, float] = {}
        self._num_asked = 0
        self._lock = threading.Lock()

    def audition(self, place: int, submit: Callable[[Callable[[], None]], object] | None = None) -> Audition | None:
        """What judges the beginning of a candidate; None where music may stand still.

        Args:
            submit: lets a function run in another thread; by default the beginning is judged by the thread that draws.
        """
        if self._target is None or not self._target.moves:
            return None

        def hear(decode: Callable[[], Wave], sample_rate_hz: int) -> None:
            judge = own_settings()(lambda: self.hear(place, Clip(decode(), sample_rate_hz)))
            judge() if submit is None else submit(judge)

        return Audition(hear, lambda: self.is_dropped(place))

    def hear(self, place: int, beginning: Clip) -> None:
        """Judges the first two seconds of a candidate."""
        from descant.evaluation.movement import measure_movement

        movement = measure_movement(beginning)
        loudness = integrated_loudness(beginning.samples, beginning.sample_rate_hz)
        num_onsets = round(movement.onsets_per_second * beginning.duration_s)
        with self._lock:
            self._beginnings[place] = Beginning(loudness > -math.inf, movement.longest_hold_s or 0.0, num_onsets)

    def is_dropped(self, place: int) -> bool:
        """Whether a candidate stands still, and another one is known to move more. Once it is, it stays so."""
        with self._lock:
            own = self._beginnings.get(place)
            if own is None or own.fault is None:
                return False
            others = [(other, one) for other, one in self._beginnings.items() if other != place]
        return any(one.fault is None or (one.rank, -other) > (own.rank, -place) for other, one in others)

    def next_round(self, first: int = FIRST_ROUND) -> range:
        """The places of the candidates to be made now; none if they cannot change the result any more.

        Args:
            first: the number of those of the first round. In each round the candidates become four times as many.
        """
        begin = self._num_asked
        if self._full_place() is None:
            self._num_asked = min(len(self.requests), max(first, 4 * begin))
        return range(begin, self._num_asked)

    def add(self, place: int, clip: Clip) -> None:
        """A candidate that is complete. Those of a round are added in their order."""
        self._clips[place] = clip
        if self._target is not None and self._full_place() is None:
            from descant.evaluation.agreement import measure_agreement

            self._scores[place] = measure_agreement(clip, self._target).score or 0.0

    def best(self) -> Clip:
        """The best candidate; its ``info`` has what is known of all."""
        if self._target is None:
            return self._clips[0]
        scores = self._kept_scores()
        place = max(scores, key=lambda place: (scores[place], -place))
        return replace(self._clips[place], info={**self._clips[place].info, **self._record()})

    def _record(self) -> dict[str, Any]:
        """What the record says: the scores in the order of the seeds, and None where a candidate has none since it was
        dropped or not needed."""
        full, scores = self._full_place(), self._kept_scores()
        needed = range(len(self.requests) if full is None else full)
        dropped = [
            {"seed": self.requests[place].seed, "reason": self._beginnings[place].fault}
            for place in needed
            if self.is_dropped(place)
        ]
        return {
            "best_of": len(self.requests),
            "scores": [scores.get(place) for place in range(len(self.requests))],
            "dropped": dropped,
        }

    def _kept_scores(self) -> dict[int, float]:
        return {place: score for place, score in self._scores.items() if not self.is_dropped(place)}

    def _full_place(self) -> int | None:
        """The first candidate with a full score; None without any. One that stands still may yet be dropped."""
        moving = (
            place for place, score in self._scores.items() if score >= FULL_SCORE and self._fault_of(place) is None
        )
        return min(moving, default=None)

    def _fault_of(self, place: int) -> str | None:
        with self._lock:
            return self._beginnings[place].fault if place in self._beginnings else None


class RoundProgress:
    """The progress of rounds of candidates. Those of which it is not known whether they will be made count as well.

    Args:
        num_candidates: all that may be made.
        report: called with the number of steps done and of all steps; None reports nothing.
    """

    def __init__(self, num_candidates: int, report: Callable[[int, int], None] | None) -> None:
        self._num_left, self._report = num_candidates, report
        self._num_before = self._num_steps = self._total = 0

    def begin(self, num_candidates: int) -> Callable[[int, int], None] | None:
        """The report of a round of so many candidates."""
        self._num_left -= num_candidates
        self._num_before += self._num_steps
        report, before = self._report, self._num_before

        def report_round(done: int, num_steps: int) -> None:
            assert report is not None
            self._num_steps = num_steps
            self._total = before + num_steps + self._num_left * num_steps // num_candidates
            report(before + done, self._total)

        return None if report is None else report_round

    def end(self) -> None:
        """Reports that all is done, where candidates were not needed."""
        if self._report is not None and self._num_left:
            self._report(self._total, self._total)


def candidates(request: Request, count: int) -> list[Request]:
    """The request with ``count`` successive seeds, the first of which is its own or a new one.

    Raises:
        InvalidRequest: the count is out of range, there are not so many seeds from its own on, or the request asks for
            nothing that can be scored.
        MissingExtra: the library that estimates tempo and key is not installed.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_CANDIDATES:
        raise InvalidRequest(f"best_of={count!r:.60}: must be a whole number from 1 to {MAX_CANDIDATES}")
    if count == 1:
        return [request]
    # Imported here: most music has one candidate, and should not wait for what scores several.
    from descant.evaluation.agreement import require_scorable

    # A loop is long enough once it is repeated.
    with naming(f"best_of={count}"):
        require_scorable(_target(request), request.duration_s if request.loop_bars is None else math.inf)
    first = secrets.randbits(31) if request.seed is None else request.seed
    return [replace(request, seed=seed) for seed in successive_seeds(first, count)]


def _target(request: Request) -> "Target":
    """What can be scored: expected moods are left out, since nothing would be chosen by them.

    Given chords or a melody say what sounds how long; otherwise music should move, unless its text asks for sounds that
    are held.
    """
    from descant.evaluation.agreement import target_of
    from descant.evaluation.movement import may_stand_still

    target = target_of(request.text, chords=request.given_chords, melody=request.melody)
    moves = request.given_chords is None and request.melody is None and not may_stand_still(request.text)
    return replace(target, tempo_key=request.stated, mood_mode=None, moves=moves)
