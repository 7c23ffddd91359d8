"""The best of several candidates: the same request with successive seeds. They are scored by how well they fit their
prompt, and by whether they move.
"""

import math
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from descant.audio import Clip
from descant.errors import InvalidRequest, naming
from descant.generation.request import MAX_SEED, Request

if TYPE_CHECKING:
    from descant.evaluation.agreement import Target

MAX_CANDIDATES = 64


def candidates(request: Request, count: int) -> list[Request]:
    """The request with ``count`` successive seeds, the first of which is its own or a new one.

    Raises:
        InvalidRequest: the count is out of range, or the request asks for nothing that can be scored.
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
    return [replace(request, seed=(first + index) % (MAX_SEED + 1)) for index in range(count)]


def best(request: Request, clips: Sequence[Clip]) -> Clip:
    """The candidate with the highest score, the first of equal ones; its ``info`` has the scores of all."""
    if len(clips) == 1:
        return clips[0]
    from descant.evaluation.agreement import measure_agreement

    target = _target(request)
    scores = [measure_agreement(clip, target).score or 0.0 for clip in clips]
    chosen = clips[scores.index(max(scores))]
    return replace(chosen, info={**chosen.info, "best_of": len(clips), "scores": scores})


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
