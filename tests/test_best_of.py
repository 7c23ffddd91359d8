"""The best of several candidates."""

import math
from dataclasses import replace

import pytest
import torch

from descant import Clip, InvalidRequest, MusicGen, Request, best_of, request_from_info
from descant.evaluation.agreement import measure_agreement, target_of


@pytest.fixture(scope="module")
def music(tiny_model) -> MusicGen:
    return MusicGen(tiny_model, "tiny")


def note(midi: float, duration_s: float) -> torch.Tensor:
    """A plucked note at 16 kHz."""
    time = torch.arange(round(16_000 * duration_s)) / 16_000
    return 0.3 * torch.sin(2 * math.pi * 440 * 2 ** ((midi - 69) / 12) * time) * torch.exp(-time / duration_s)


def test_music_that_stands_still_loses():
    still = Clip(note(60, 8.0), 16_000)
    moving = Clip(torch.cat([note(60 + interval, 0.4) for interval in (0, 4, 7, 5, 9, 2, 11, 7, 4, 0) * 2]), 16_000)
    best = best_of.best(Request(text="piano", duration_s=8.0), [still, moving])
    assert torch.equal(best.samples, moving.samples)
    worse, better = best.info["scores"]
    assert worse < 0.5
    assert better == 1


def test_sounds_may_be_held_where_that_was_asked_for():
    scale = Clip(note(60, 4.0), 16_000)
    requests = [Request(text="Warm pads."), Request(text="piano", chords="C:0"), Request(text="piano", melody=scale)]
    assert [best_of._target(request).moves for request in requests] == [False] * 3
    assert best_of._target(Request(text="piano for a launchpad")).moves


def test_the_best_candidate_is_one_of_them_and_its_seed_generates_it_again(music):
    request = Request(text="drums, 120 bpm", duration_s=2.1, seed=4)
    best = music.generate(request, best_of=3)
    several = [music.generate(request, seed=seed) for seed in (4, 5, 6)]
    target = replace(target_of(request.text), moves=True)
    scores = [measure_agreement(clip, target).score for clip in several]
    assert best.info["scores"] == scores
    assert torch.equal(best.codes, several[scores.index(max(scores))].codes)
    assert torch.equal(music.generate(request_from_info(best.info)).codes, best.codes)


@pytest.mark.parametrize(
    ("text", "best_of", "message"),
    [
        ("120 bpm", 0, "best_of=0"),
        ("120 bpm", 65, "best_of=65"),
        ("120 bpm", True, "True"),
        ("warm pad", 2, "best_of=2: .*states none"),
        ("piano", 2, "best_of=2: .*too short to estimate"),
        ("120 bpm", 2, "best_of=2: .*too short to estimate"),
    ],
)
def test_impossible_candidates_are_refused(music, text, best_of, message):
    with pytest.raises(InvalidRequest, match=message):
        music.generate(text, best_of=best_of, duration_s=1.0)
