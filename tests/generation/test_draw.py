"""Recorded or not, a draw is guidance and then sampling."""

import pytest
import torch
from torch import Tensor

from descant.generation.draw import GraphedDraw, Term, draw, draw_for
from descant.generation.guidance import guide
from descant.generation.request import Sampling
from descant.generation.sampling import SamplingRows, sample

CPU = torch.device("cpu")
SETTINGS = (
    (Sampling(), Sampling()),
    (Sampling(top_k=3), Sampling(top_k=3)),
    (Sampling(top_k=3), Sampling(top_k=5, temperature=0.7)),
    (Sampling(top_p=0.6), Sampling(greedy=True)),
)


def noise_of(num_jobs: int) -> Tensor:
    return torch.empty(num_jobs, 4, 16).exponential_().log()


def column(*scales: float) -> Tensor:
    return torch.tensor(scales)[:, None, None]


def test_codes_are_drawn_from_the_guided_logits():
    logits, noise = torch.randn(5, 4, 16).half(), noise_of(2)
    settings = SamplingRows.of(SETTINGS[2], 16, CPU)
    found = draw(logits, [Term(2, column(3.0, 2.0)), Term(4, column(1.5))], settings, noise)
    whole = logits.float()
    guided = guide(whole[:2], whole[2:4], column(3.0, 2.0))
    guided = torch.stack([guide(guided[0], whole[4], torch.tensor([1.5])), guided[1]])
    for mine, expected in zip(found, sample(guided, settings, noise), strict=True):
        assert torch.equal(mine, expected)


@pytest.mark.parametrize(
    "device", [CPU, pytest.param(torch.device("cuda"), marks=pytest.mark.gpu)], ids=["cpu", "cuda"]
)
def test_a_recorded_draw_is_the_plain_one_whatever_jobs_there_are(device):
    recorded = GraphedDraw(device)
    for settings in SETTINGS * 2:
        rows = SamplingRows.of(settings, 16, device)
        for terms in ([], [Term(2, column(3.0, 2.0).to(device))], [Term(2, column(4.0).to(device))]):
            for _ in range(2):
                logits, noise = torch.randn(4, 4, 16).to(device), noise_of(2).to(device)
                expected = draw(logits, terms, rows, noise)
                for mine, theirs in zip(recorded(logits, terms, rows, noise), expected, strict=True):
                    assert torch.equal(mine, theirs)


def test_only_cuda_records():
    assert draw_for(CPU) is draw
    assert draw_for(torch.device("mps")) is draw
