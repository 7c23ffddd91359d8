"""Drawing codes: what each rule keeps, its two ends, and that draws are distributed as they should be."""

import pytest
import torch

from descant.generation.request import MAX_SEED, Sampling
from descant.generation.runtimes.native.noise import log_exponential
from descant.generation.sampling import (
    NOISE_STEPS,
    NoiseSource,
    SamplingRows,
    TopK,
    keep_top_k,
    keep_top_p,
    sample,
)

CPU = torch.device("cpu")


def rows_of(*settings: Sampling, num_entries: int = 8) -> SamplingRows:
    return SamplingRows.of(list(settings), num_entries, CPU)


def exponential(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.empty(shape).exponential_(generator=torch.Generator().manual_seed(seed))


def drawn(logits: torch.Tensor, sampling: Sampling, num_draws: int = 4_000) -> torch.Tensor:
    """How often each code came, of one row of logits."""
    many = logits.expand(num_draws, 1, -1).contiguous()
    codes = sample(many, rows_of(*[sampling] * num_draws, num_entries=len(logits)), exponential(*many.shape).log())[0]
    return torch.bincount(codes.flatten(), minlength=len(logits)).double()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_draws_are_distributed_as_the_softmax_of_the_logits(temperature):
    logits = torch.tensor([2.0, 1.5, 1.0, 0.0, -1.0])
    counts = drawn(logits, Sampling(temperature=temperature, top_k=0))
    expected = 4_000 * (logits.double() / temperature).softmax(0)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 18.5, "beyond the 99.9 % point of chi-square with 4 degrees of freedom"


@pytest.mark.parametrize("k", [1, 2, 7, 8])
def test_top_k_keeps_the_k_largest(k):
    logits = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(0))
    kept = keep_top_k(logits, TopK.of([k, 8, 1], CPU))
    assert kept.isfinite().sum(dim=-1).tolist() == [[k, k], [8, 8], [1, 1]]
    assert torch.equal(kept.amax(dim=-1), logits.amax(dim=-1))
    smallest_kept = kept[0].masked_fill(kept[0].isinf(), torch.inf).amin(dim=-1)
    assert torch.equal(smallest_kept, logits[0].sort(descending=True).values[:, k - 1])


def test_top_k_keeps_all_that_are_equal_to_the_last_kept():
    kept = keep_top_k(torch.tensor([[[3.0, 1.0, 1.0, 1.0, 0.0]]]), TopK.of([2], CPU))
    assert kept.isfinite().flatten().tolist() == [True, True, True, True, False]


def test_top_k_of_zero_or_more_than_there_are_keeps_all():
    assert rows_of(Sampling(top_k=0), Sampling(top_k=99)).top_k is None
    mixed = rows_of(Sampling(top_k=0), Sampling(top_k=99), Sampling(top_k=2))
    kept = keep_top_k(torch.randn(3, 1, 8), mixed.top_k)
    assert kept.isfinite().sum(dim=-1).flatten().tolist() == [8, 8, 2]


@pytest.mark.parametrize(("p", "kept"), [(1e-300, 1), (0.49, 1), (0.51, 2), (0.79, 2), (0.81, 3), (0.96, 4), (1.0, 4)])
def test_top_p_keeps_the_fewest_that_reach_p(p, kept):
    """A p that float32 rounds to zero once dropped everything, and code 0 was drawn."""
    logits = torch.tensor([0.05, 0.5, 0.15, 0.3]).log().reshape(1, 1, 4)
    other = Sampling(top_p=0.5)  # of all ones there is no tensor
    top_p = rows_of(Sampling(top_p=p), other, num_entries=4).top_p[:1]
    left = keep_top_p(logits, top_p).isfinite().flatten()
    assert set(left.nonzero().flatten().tolist()) == set([1, 3, 2, 0][:kept])


def test_top_p_looks_at_what_top_k_left():
    """The rules apply in the order of the fields: 0.54 of what the two likeliest hold is in the first alone."""
    logits = torch.tensor([0.3, 0.25, 0.24, 0.21]).log()
    assert drawn(logits, Sampling(top_k=2, top_p=0.54)).tolist() == [4_000, 0, 0, 0]
    assert (drawn(logits, Sampling(top_k=0, top_p=0.54)) > 0).tolist() == [True, True, False, False]


@pytest.mark.parametrize("temperature", [1e-3, 1e-30, 1e-40, 1e-60])
def test_a_temperature_near_zero_is_greedy_whatever_the_size_of_the_logits(temperature):
    """Divided as they were, large logits all became infinite, and the first of them won."""
    logits = 1_000 + torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(0))
    for sign in (1.0, -1.0):
        codes = sample(sign * logits, rows_of(*[Sampling(temperature=temperature)] * 6), exponential(6, 2, 8).log())[0]
        assert torch.equal(codes, (sign * logits).argmax(dim=-1))


def test_a_huge_temperature_draws_all_codes_alike():
    counts = drawn(torch.tensor([5.0, 0.0, -5.0, 2.0]), Sampling(temperature=1e6, top_k=0))
    assert ((counts - 1_000) ** 2 / 1_000).sum() < 16.3, "beyond the 99.9 % point, 3 degrees of freedom"


def test_greedy_takes_the_largest_and_never_looks_at_the_noise():
    logits = torch.randn(2, 3, 8)
    settings = rows_of(Sampling(greedy=True, top_k=3, top_p=0.1, temperature=9.0), Sampling(greedy=True))
    assert torch.equal(sample(logits, settings, torch.full((2, 3, 8), torch.nan))[0], logits.argmax(dim=-1))


def test_rows_with_different_settings_are_drawn_as_if_alone():
    settings = [
        Sampling(),
        Sampling(greedy=True),
        Sampling(top_k=1),
        Sampling(top_p=0.3, top_k=0),
        Sampling(temperature=5.0, top_k=6),
    ]
    logits, noise = torch.randn(5, 4, 8), exponential(5, 4, 8).log()
    together, _ = sample(logits, rows_of(*settings), noise)
    alone = [sample(logits[i : i + 1], rows_of(row), noise[i : i + 1])[0] for i, row in enumerate(settings)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(greedy=True), Sampling(top_k=3, top_p=0.5)], ids=repr)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_not_finite_win_with_a_value_that_is_not(value, sampling):
    logits = torch.randn(2, 3, 8)
    logits[1, 2, 5] = value
    _, values = sample(logits, rows_of(sampling, sampling), exponential(2, 3, 8).log())
    assert values.isfinite().tolist() == [[True, True, True], [True, True, False]]


def next_of(source: NoiseSource) -> torch.Tensor:
    noise = source.ahead()[0]
    source.use()
    return noise


def test_noise_is_one_stream_cut_into_blocks():
    source = NoiseSource(seed=5, num_codebooks=2, num_entries=3)
    steps = torch.stack([next_of(source) for _ in range(2 * NOISE_STEPS + 1)])
    blocks = [log_exponential(5, block, NOISE_STEPS * 6).view(NOISE_STEPS, 2, 3) for block in range(3)]
    assert torch.equal(steps, torch.cat(blocks)[: len(steps)])
    assert len(steps.unique()) > 0.99 * steps.numel()
    assert steps.isfinite().all(), "minus infinity would beat every other code"


def test_noise_does_not_depend_on_when_another_source_draws():
    alone = NoiseSource(seed=5, num_codebooks=2, num_entries=3)
    expected = [next_of(alone) for _ in range(40)]
    first, second = NoiseSource(5, 2, 3), NoiseSource(6, 2, 3)
    for noise in expected:
        assert torch.equal(next_of(first), noise)
        assert not torch.equal(next_of(second), noise)


def test_noise_does_not_depend_on_the_number_of_threads():
    before = torch.get_num_threads()
    try:
        drawn = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            drawn.append(NoiseSource(seed=5, num_codebooks=4, num_entries=2_048).ahead())
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*drawn)


def test_neighbouring_and_largest_seeds_give_other_noise():
    """Seeds once went up to 2**63 - 1, and those that agreed in 32 bits gave the same music."""
    seeds = (0, 1, 2, 2**31, MAX_SEED - 1, MAX_SEED)
    assert len({NoiseSource(seed, 1, 4).ahead().numpy().tobytes() for seed in seeds}) == len(seeds)
