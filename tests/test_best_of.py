"""The best of several candidates."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from descant import Clip, InvalidRequest, MusicGen, Request, best_of, request_from_info
from descant.best_of import Beginning, Choice, RoundProgress
from descant.evaluation.agreement import measure_agreement, target_of
from descant.generation.audition import Audition
from descant.generation.decode import Decoder
from descant.generation.engine import Engine


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
    choice = Choice(Request(text="piano", duration_s=8.0), 2)
    for place, clip in enumerate((still, moving)):
        choice.add(place, clip)
    best = choice.best()
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


MOVES, HELD, FEW = Beginning(True, 0.6, 8), Beginning(True, 2.0, 5), Beginning(True, 1.9, 1)
SILENT = Beginning(False, 0.0, 0)


class Judged(Choice):
    """A choice whose candidates have given beginnings and scores."""

    def __init__(self, beginnings: list[Beginning], scores: list[float]) -> None:
        super().__init__(Request(text="piano", duration_s=8.0, seed=10), len(scores))
        self.given, self.known = beginnings, scores

    def hear(self, place: int, _beginning: Clip) -> None:
        self._beginnings[place] = self.given[place]

    def add(self, place: int, clip: Clip) -> None:
        self._clips[place] = clip
        if self._full_place() is None:
            self._scores[place] = self.known[place]

    def make(self, places: Sequence[int]) -> None:
        """All of some candidates at a time, in any order."""
        for place in places:
            self.hear(place, STILL)
        for place in sorted(places):
            if not self.is_dropped(place):
                self.add(place, Clip(torch.ones(1, 16), 16_000, info={"place": place}))


STILL = Clip(torch.zeros(1, 32_000), 16_000)


@pytest.mark.parametrize(
    ("beginnings", "scores", "place", "dropped"),
    [
        ([HELD, MOVES, MOVES, MOVES], [1.0, 0.4, 0.8, 0.8], 2, ["one held sound"]),
        ([HELD, SILENT, HELD, FEW], [0.2, 0.9, 0.9, 0.1], 3, ["one held sound", "silence", "one held sound"]),
        ([MOVES, HELD, MOVES, MOVES], [0.7, 0.2, 1.0, 1.0], 2, ["one held sound"]),
        ([SILENT] * 4, [0.0] * 4, 0, ["silence"] * 3),
        ([MOVES] * 4, [1.0] * 4, 0, []),
    ],
)
@pytest.mark.parametrize("rounds", [[[0, 1, 2, 3]], [[0], [1], [2], [3]], [[1, 0], [3, 2]]])
def test_the_choice_does_not_depend_on_how_many_candidates_are_made_at_a_time(
    beginnings, scores, place, dropped, rounds
):
    choice = Judged(beginnings, scores)
    for places in rounds:
        if choice._full_place() is None:
            choice.make(places)
    best = choice.best()
    assert best.info["place"] == place
    assert [entry["reason"] for entry in best.info["dropped"]] == dropped
    whole = Judged(beginnings, scores)
    whole.make([0, 1, 2, 3])
    assert best.info == whole.best().info


def test_after_a_full_score_no_more_candidates_are_made():
    choice = Judged([HELD, MOVES, MOVES, MOVES, MOVES, MOVES, MOVES, MOVES], [0.5, 0.9, 0.8, 1.0, 0.7, 1.0, 0.7, 0.9])
    made = []
    while places := choice.next_round():
        made.append(list(places))
        choice.make(places)
    assert made == [[0, 1], [2, 3, 4, 5, 6, 7]]
    assert choice.best().info == {
        "place": 3,
        "best_of": 8,
        "scores": [None, 0.9, 0.8, 1.0, None, None, None, None],
        "dropped": [{"seed": 10, "reason": "one held sound"}],
    }
    sooner = Judged([MOVES] * 8, [0.9, 1.0, *[0.5] * 6])
    sooner.make(sooner.next_round())
    assert not sooner.next_round()


def test_beginnings_are_judged_by_what_sounds():
    def fault(wave: torch.Tensor) -> str | None:
        choice = Choice(Request(text="piano", duration_s=8.0), 2)
        choice.hear(0, Clip(wave[None], 16_000))
        return choice._beginnings[0].fault

    assert fault(torch.cat([note(60 + interval, 0.25) for interval in (0, 4, 7, 5, 9, 2, 11, 7)])) is None
    assert fault(torch.cat([note(60, 0.25)] * 8)) == "one held sound"
    assert fault(torch.zeros(32_000)) == "silence"
    assert fault(torch.cat([torch.zeros(16_000), note(60, 1.0)])) == "few onsets"


def test_a_dropped_candidate_ends_and_the_others_have_the_same_codes(music, monkeypatch):
    """Also where fewer are made at a time, and where requests with and without candidates are mixed."""
    request = Request(text="piano", duration_s=8.0, seed=20)
    several = [music.generate(request, seed=20 + place) for place in range(4)]
    steps = Counter()
    advance = Decoder.advance

    def count(self, most=1):
        before = {decoding: decoding.step for decoding in self.active}
        done = advance(self, most)
        for decoding, step in before.items():
            steps[decoding.job.noise._seed] += decoding.step - step
        return done

    monkeypatch.setattr(Decoder, "advance", count)
    for max_batch in (1, 4):
        steps.clear()
        choice = Judged([HELD, MOVES, SILENT, MOVES], [0.0] * 4)
        auditions = [choice.audition(place) for place in range(4)]
        engine = Engine(music.model, max_batch)
        made = engine.generate_some([*choice.requests, request], [*auditions, None])
        assert [one is None for one in made] == [True, False, True, False, False]
        expected = [replace(request, seed=10 + place) for place in (1, 3)]
        for one, alone in zip((made[1], made[3]), music.generate(expected), strict=True):
            assert torch.equal(one.codes, alone.codes)
        assert torch.equal(made[4].codes, several[0].codes)
        assert steps[12] < steps[13] / 2


def test_the_music_that_is_judged_is_the_beginning_of_what_is_made(music):
    """The same however many steps are drawn at once, and as streamed; a prompt is left out."""
    prompt = Clip(note(60, 0.5)[None], 16_000)
    request = Request(text="piano", prompt=prompt, duration_s=6.5, seed=1)
    heard: list[tuple[torch.Tensor, int]] = []
    audition = Audition(lambda decode, rate_hz: heard.append((decode(), rate_hz)), lambda: False)
    (made,) = music.engine.generate_some([request], [audition])
    batch = music.engine.stream_batch()
    batch.add(request, audition)
    while len(batch):
        batch.advance()
    assert len(heard) == 2
    assert torch.equal(heard[0][0], heard[1][0])
    wave, rate_hz = heard[0]
    assert wave.shape[1] == 2 * rate_hz
    start = round(0.5 * rate_hz)
    torch.testing.assert_close(wave[:, 1_000:-8_000], made.wave[:, start + 1_000 : start + 2 * rate_hz - 8_000])


def test_streamed_music_that_fails_ends_early(music):
    batch = music.engine.stream_batch()
    heard = []
    audition = Audition(lambda _, rate_hz: heard.append(rate_hz), lambda: bool(heard))
    ended = batch.add(Request(text="piano", duration_s=8.0, seed=1), audition)
    whole = batch.add(Request(text="piano", duration_s=8.0, seed=2))
    ends = {}
    while len(batch):
        ends.update({one.music: one for one in batch.advance() if one.is_done})
    assert ends[ended].error is None
    assert ended.known_s < 4.0
    assert torch.equal(whole.codes, music.generate("piano", duration_s=8.0, seed=2).codes)


def test_short_music_and_music_that_may_stand_still_has_no_audition(music):
    heard = []
    audition = Audition(lambda _, rate_hz: heard.append(rate_hz), lambda: False)
    music.engine.generate_some([Request(text="piano", duration_s=3.9, seed=1)], [audition])
    assert heard == []
    assert Choice(Request(text="warm pads, 120 bpm"), 2).audition(0) is None
    assert Choice(Request(text="piano"), 1).audition(0) is None


def test_progress_of_rounds_ends_with_all_steps():
    seen: list[tuple[int, int]] = []
    rounds = RoundProgress(8, lambda done, total: seen.append((done, total)))
    report = rounds.begin(2)
    report(10, 20)
    report(20, 20)
    rounds.end()
    assert seen == [(10, 80), (20, 80), (80, 80)]
    seen.clear()
    rounds = RoundProgress(3, lambda done, total: seen.append((done, total)))
    rounds.begin(2)(20, 20)
    rounds.begin(1)(10, 10)
    rounds.end()
    assert seen == [(20, 30), (30, 30)]
