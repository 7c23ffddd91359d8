"""Penalties for held notes: what is drawn again and again becomes less likely, and nothing else changes."""

import pytest
import torch

from descant.generation.guidance import guide
from descant.generation.holds import WINDOW_STEPS, HoldPenalties
from descant.generation.request import Request, Sampling
from tests.generation.test_decoder import PROMPT, alone, ask

NUM_ENTRIES = 32


class Held:
    """A decoding of which only the settings and the last codes are known."""

    def __init__(self, penalty: float, recent: list[int]) -> None:
        sampling = Sampling(hold_penalty=penalty)
        self.job = type("Job", (), {"sampling": sampling})()
        self._recent = [NUM_ENTRIES] * WINDOW_STEPS + recent

    def recent_codes(self, num_steps: int) -> torch.Tensor:
        return torch.tensor(self._recent[-num_steps:])


def penalties(*held: Held, rows: int = 1) -> HoldPenalties:
    """Of jobs with so many rows each, in the order of a batch."""
    return HoldPenalties(held, NUM_ENTRIES, torch.arange(len(held)).repeat(rows))


def penalised(of: HoldPenalties, logits: torch.Tensor) -> torch.Tensor:
    changed = logits.clone()
    of.subtract_from(changed)
    return changed


@pytest.mark.usefixtures("unchecked")
def test_a_code_loses_the_penalty_times_its_share_of_the_last_half_second():
    logits = torch.randn(1, 4, NUM_ENTRIES, generator=torch.Generator().manual_seed(0))
    of = penalties(Held(5.0, [3] * 10 + [7] * 5))
    lost = (logits - penalised(of, logits))[0]
    expected = torch.zeros(4, NUM_ENTRIES)
    expected[0, 3], expected[0, 7] = 5 * 10 / WINDOW_STEPS, 5 * 5 / WINDOW_STEPS
    torch.testing.assert_close(lost, expected, rtol=0, atol=1e-6)


@pytest.mark.usefixtures("unchecked")
def test_a_code_that_is_drawn_throughout_loses_all_of_it_and_regains_it_when_others_are():
    logits = torch.zeros(1, 4, NUM_ENTRIES)
    of = penalties(Held(2.0, []))
    for _ in range(2 * WINDOW_STEPS):
        of.add(torch.tensor([[9, 9, 9, 9]]))
    assert penalised(of, logits)[0, 0, 9] == pytest.approx(-2)
    assert (penalised(of, logits)[0, 1:] == 0).all()
    for code in range(WINDOW_STEPS):
        of.add(torch.tensor([[code % 8, 9, 9, 9]]))
    assert penalised(of, logits)[0, 0, 9] == 0


@pytest.mark.usefixtures("unchecked")
def test_codes_that_are_added_count_as_those_from_before():
    codes = torch.randint(0, NUM_ENTRIES, (2, 3 * WINDOW_STEPS), generator=torch.Generator().manual_seed(2)).tolist()
    logits = torch.zeros(4, 4, NUM_ENTRIES)
    added = penalties(Held(4.0, []), Held(1.0, [5]), rows=2)
    for step in range(3 * WINDOW_STEPS):
        added.add(torch.tensor([[first[step], 9, 9, 9] for first in codes]))
        again = penalties(Held(4.0, codes[0][: step + 1]), Held(1.0, [5, *codes[1][: step + 1]]), rows=2)
        assert torch.equal(penalised(added, logits), penalised(again, logits))


@pytest.mark.usefixtures("unchecked")
def test_every_job_has_its_own_and_guidance_neither_strengthens_nor_weakens_it():
    logits = torch.randn(4, 4, NUM_ENTRIES, generator=torch.Generator().manual_seed(1))
    changed = penalised(penalties(Held(4.0, [3] * WINDOW_STEPS), Held(0.0, [3] * WINDOW_STEPS), rows=2), logits)
    assert torch.equal(changed[[1, 3]], logits[[1, 3]])
    lost = guide(logits[:1], logits[2:3], 3.0) - guide(changed[:1], changed[2:3], 3.0)
    assert lost[0, 0, 3].item() == pytest.approx(4, abs=1e-4)
    assert lost.sum().item() == pytest.approx(4, abs=1e-3)


def music(model, **settings) -> torch.Tensor:
    return alone(model, ask(sampling=Sampling(**settings)))


def test_without_a_penalty_and_for_the_likeliest_codes_nothing_changes(tiny_model):
    assert torch.equal(music(tiny_model, top_k=5, hold_penalty=0.0), music(tiny_model, top_k=5))
    assert torch.equal(music(tiny_model, greedy=True, hold_penalty=50.0), music(tiny_model, greedy=True))


def held_share(codes: torch.Tensor) -> float:
    """The share of the first codebook's codes that are also among the eight before."""
    first = codes[0].tolist()
    return sum(code in first[max(0, place - 8) : place] for place, code in enumerate(first)) / len(first)


def test_music_repeats_its_codes_less_with_a_penalty(tiny_model):
    def request(penalty: float) -> Request:
        sampling = Sampling(top_k=2, temperature=0.3, hold_penalty=penalty)
        return ask(duration_s=2.0, sampling=sampling)

    assert held_share(alone(tiny_model, request(30.0))) < held_share(alone(tiny_model, request(0.0)))


def test_the_codes_of_a_prompt_count(tiny_model):
    """The first code that is drawn after a prompt is none that the prompt ends with, if that would cost enough."""
    ending = PROMPT.clone()
    ending[0] = 7
    requests = [
        ask(prompt_codes=ending, duration_s=0.4, seed=seed, sampling=Sampling(top_k=0, hold_penalty=100.0))
        for seed in range(8)
    ]
    assert all(alone(tiny_model, request)[0, PROMPT.shape[1]] != 7 for request in requests)
