"""The loss under a pattern's mask."""

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from descant.lm.loss import pattern_cross_entropy, pattern_divergence
from descant.patterns import CoarseFirst, Flatten, Grouped, PartialFlatten, delay, parallel

PATTERNS = [delay(3), parallel(3), Flatten(3), PartialFlatten(3), CoarseFirst((0, 0, 1)), Grouped(3, 3)]


def naive(logits, codes, pattern, mask=None):
    """Code by code, as the definition reads; NaN for a codebook none of whose codes counts."""
    batch, num_codebooks, num_frames = codes.shape
    steps, limit = pattern.steps(num_frames), pattern.training_length(num_frames)
    losses = []
    for k in range(num_codebooks):
        terms = [
            -logits[b, k, steps[k, t] - 1].log_softmax(-1)[codes[b, k, t]]
            for b in range(batch)
            for t in range(num_frames)
            if steps[k, t] < limit and (mask is None or mask[b, t])
        ]
        losses.append(torch.stack(terms).mean())
    return torch.stack(losses)


def drawn(pattern, batch=2, num_frames=5, size=7):
    codes = torch.randint(0, size, (batch, 3, num_frames))
    return torch.randn(batch, 3, pattern.training_length(num_frames), size), codes


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
@pytest.mark.parametrize("masked", [False, True])
def test_the_loss_is_that_of_a_naive_loop(pattern, masked):
    logits, codes = drawn(pattern)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]]) if masked else None
    mean, per_codebook = pattern_cross_entropy(logits, codes, pattern, mask)
    torch.testing.assert_close(per_codebook, naive(logits, codes, pattern, mask))
    torch.testing.assert_close(mean, per_codebook.mean())


def test_weights_count_by_their_ratios():
    logits, codes = drawn(delay(3))
    _, per_codebook = pattern_cross_entropy(logits, codes, delay(3))
    mean, _ = pattern_cross_entropy(logits, codes, delay(3), weights=torch.tensor([3.0, 1.0, 0.0]))
    torch.testing.assert_close(mean, 0.75 * per_codebook[0] + 0.25 * per_codebook[1])


def test_what_does_not_count_gets_no_gradient():
    logits, codes = drawn(delay(3), batch=1)
    logits.requires_grad_()
    mask = torch.tensor([[True, True, True, False, False]])
    pattern_cross_entropy(logits, codes, delay(3), mask)[0].backward()
    counted = logits.grad.abs().sum(-1)[0] > 0
    assert counted.int().tolist() == [[1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 0, 0], [0, 0, 1, 1, 1, 0]]


def test_codes_under_the_mask_may_be_anything():
    logits, codes = drawn(delay(3))
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    spoilt = codes.masked_fill(~mask[:, None], 7)
    torch.testing.assert_close(
        pattern_cross_entropy(logits, spoilt, delay(3), mask), pattern_cross_entropy(logits, codes, delay(3), mask)
    )


def test_a_codebook_without_a_code_that_counts_is_zero_and_finite():
    logits, codes = drawn(delay(3), num_frames=2)
    mean, per_codebook = pattern_cross_entropy(logits, codes, delay(3))
    assert per_codebook[2] == 0
    assert mean.isfinite()


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_the_divergence_is_that_of_torchs_distributions_at_the_steps_that_count(pattern):
    logits, codes = drawn(pattern)
    reference = torch.randn_like(logits)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    steps, limit = pattern.steps(5), pattern.training_length(5)
    terms = [
        kl_divergence(*(Categorical(logits=values[b, k, steps[k, t] - 1]) for values in (reference, logits)))
        for b in range(2)
        for k in range(3)
        for t in range(5)
        if steps[k, t] < limit and mask[b, t]
    ]
    torch.testing.assert_close(pattern_divergence(logits, reference, codes, pattern, mask), torch.stack(terms).mean())
    assert pattern_divergence(logits, logits, codes, pattern) == 0
