"""The best of several candidates."""

import pytest
import torch

from descant import InvalidRequest, MusicGen, Request, request_from_info
from descant.evaluation.agreement import measure_agreement, target_of


@pytest.fixture(scope="module")
def music(tiny_model) -> MusicGen:
    return MusicGen(tiny_model, "tiny")


def test_the_best_candidate_is_one_of_them_and_its_seed_generates_it_again(music):
    request = Request(text="drums, 120 bpm", duration_s=2.1, seed=4)
    best = music.generate(request, best_of=3)
    several = [music.generate(request, seed=seed) for seed in (4, 5, 6)]
    scores = [measure_agreement(clip, target_of(request.text)).score for clip in several]
    assert best.info["scores"] == scores
    assert torch.equal(best.codes, several[scores.index(max(scores))].codes)
    assert torch.equal(music.generate(request_from_info(best.info)).codes, best.codes)


@pytest.mark.parametrize(
    ("text", "best_of", "message"),
    [
        ("120 bpm", 0, "best_of=0"),
        ("120 bpm", 65, "best_of=65"),
        ("120 bpm", True, "True"),
        ("piano", 2, "best_of=2: .*states none"),
        ("120 bpm", 2, "best_of=2: .*too short to estimate"),
    ],
)
def test_impossible_candidates_are_refused(music, text, best_of, message):
    with pytest.raises(InvalidRequest, match=message):
        music.generate(text, best_of=best_of, duration_s=1.0)
