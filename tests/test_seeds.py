"""Seeds that follow one."""

import pytest

from descant.best_of import candidates
from descant.errors import InvalidRequest
from descant.generation.request import Request
from descant.seeds import MAX_SEED, successive_seeds


def test_successive_seeds_end_with_the_last_and_never_begin_anew():
    assert list(successive_seeds(MAX_SEED - 2, 3)) == [MAX_SEED - 2, MAX_SEED - 1, MAX_SEED]
    with pytest.raises(InvalidRequest, match=f"seed={MAX_SEED}: 2 seeds .* give at most {MAX_SEED - 1}"):
        successive_seeds(MAX_SEED, 2)


def test_candidates_have_seeds_of_their_own():
    """Those after the last seed once had the seeds 0, 1, ..., of which no message told."""
    request = Request(text="drums, 120 bpm", duration_s=3.0, seed=MAX_SEED - 1)
    assert [one.seed for one in candidates(request, 2)] == [MAX_SEED - 1, MAX_SEED]
    with pytest.raises(InvalidRequest, match=f"seed={MAX_SEED - 1}: 3 seeds"):
        candidates(request, 3)
