"""Recorded or not, a draw is guidance and then sampling."""

import pytest
import torch
from torch import Tensor

from descant.generation.draw import CompiledDraw, GraphedDraw, Term, draw, draw_for
from descant.generation.guidance import guide
from descant.generation.request import Sampling
from descant.generation.runtimes.native.noise import log_exponential
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


MANY_SETTINGS = (
    Sampling(),
    Sampling(top_k=250, temperature=0.7),
    Sampling(top_k=1),
    Sampling(greedy=True, temperature=3.0, top_k=5),
    Sampling(temperature=1e-60, top_k=3),
    Sampling(top_k=999, temperature=100.0),
)


@pytest.mark.parametrize("num_entries", [32, 1_024, 50])
def test_a_compiled_draw_is_the_plain_one_to_the_last_bit(num_entries):
    compiled, num_jobs = CompiledDraw(), len(MANY_SETTINGS)
    generator = torch.Generator().manual_seed(0)
    for settings in (MANY_SETTINGS, MANY_SETTINGS[::-1], [Sampling(top_k=7)] * num_jobs, [Sampling(top_p=0.9)] * 6):
        rows = SamplingRows.of(list(settings), num_entries, CPU)
        for terms in ([], [Term(6, column(3.0, 2.0, 0.5, 1.0, 3.0, -1.0)), Term(12, column(1.5, 4.0))]):
            logits = 5 * torch.randn(14, 3, num_entries + 32, generator=generator)[:, :, :num_entries]
            # Some are equal, among them often the k-th largest and its neighbours.
            logits[:, 1:] = logits[:, 1:].round()
            noise = log_exponential(1, 0, num_jobs * 3 * num_entries).view(num_jobs, 3, num_entries)
            for mine, theirs in zip(
                compiled(logits, terms, rows, noise), draw(logits, terms, rows, noise), strict=True
            ):
                assert torch.equal(mine, theirs)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("sampling", [Sampling(top_k=3), Sampling(greedy=True)], ids=["sampled", "greedy"])
def test_a_compiled_draw_notices_logits_that_are_not_finite(value, sampling):
    logits, noise = torch.randn(2, 3, 64), log_exponential(1, 0, 384).view(2, 3, 64)
    logits[1, 2, 40] = value
    codes, values = CompiledDraw()(logits, [], SamplingRows.of([sampling] * 2, 64, CPU), noise)
    assert values.isfinite().tolist() == [[True, True, True], [True, True, False]]
    assert bool(((codes >= 0) & (codes < 64)).all())


def test_each_device_has_its_way_to_draw():
    assert isinstance(draw_for(CPU), CompiledDraw)
    assert draw_for(torch.device("mps")) is draw
