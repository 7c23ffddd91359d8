"""Residual vector quantisation: what coding promises, and how codebooks follow the data."""

import copy
from dataclasses import replace

import pytest
import torch

from descant.config import from_dict, to_dict
from descant.errors import ConfigError
from descant.nn.rvq import ResidualVectorQuantizer, RVQConfig, VectorQuantizer, kmeans, nearest

SMALL = RVQConfig(dim=6, codebook_dim=6, num_codebooks=3, codebook_size=8, kmeans_iterations=5, dead_code_threshold=0.0)
PROJECTED = replace(SMALL, codebook_dim=4)
BOTH = pytest.mark.parametrize("config", [SMALL, PROJECTED], ids=["plain", "projected"])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def random_quantizer(config: RVQConfig) -> ResidualVectorQuantizer:
    """Codebooks drawn at random and marked as started."""
    quantizer = ResidualVectorQuantizer(config)
    for level in quantizer.levels:
        level.codebook.normal_()
        level.usage.fill_(10.0)
        level.codebook_sum.copy_(10.0 * level.codebook)
        level.is_initialized.fill_(1)
    return quantizer


def one_level(entries: list[float], usage: list[float], **changes) -> VectorQuantizer:
    """A codebook of numbers."""
    settings = {"decay": 0.9, "dead_code_threshold": 0.0, **changes}
    level = VectorQuantizer(RVQConfig(dim=1, codebook_dim=1, codebook_size=len(entries), **settings))
    level.codebook.copy_(torch.tensor(entries)[:, None])
    level.usage.copy_(torch.tensor(usage))
    level.codebook_sum.copy_(level.codebook * level.usage[:, None])
    level.is_initialized.fill_(1)
    return level


@BOTH
def test_encoding_gives_the_codes_of_the_forward_pass_and_decoding_its_latents(config):
    quantizer, latents = random_quantizer(config).eval(), torch.randn(2, 6, 5)
    quantized = quantizer(latents)
    assert torch.equal(quantizer.encode(latents), quantized.codes)
    torch.testing.assert_close(quantizer.decode(quantized.codes), quantized.latents, rtol=0, atol=1e-5)


def test_every_level_takes_the_entry_nearest_to_what_is_left():
    quantizer, latents = random_quantizer(SMALL).eval(), torch.randn(1, 6, 7)
    codes, left = quantizer.encode(latents), latents[0].T
    for level, chosen in zip(quantizer.levels, codes[0], strict=True):
        assert torch.equal(torch.cdist(left, level.codebook).argmin(dim=1), chosen)
        left = left - level.codebook[chosen]


@BOTH
def test_rows_of_a_batch_are_coded_as_if_alone(config):
    quantizer, latents = random_quantizer(config).eval(), torch.randn(3, 6, 5)
    alone = torch.cat([quantizer.encode(row[None]) for row in latents])
    assert torch.equal(quantizer.encode(latents), alone)


def test_codebooks_start_as_means_of_the_data_they_stand_for():
    """K-means of eight points, each given nine times: the centres are among them, or means of some of them."""
    points = 10 * torch.randn(8, 6)
    quantizer = ResidualVectorQuantizer(replace(SMALL, num_codebooks=1)).train()
    quantizer(points.repeat(9, 1).T[None])
    level = quantizer.levels[0]
    members = nearest(points, level.codebook)
    for entry in members.unique():
        torch.testing.assert_close(level.codebook[entry], points[members == entry].mean(dim=0), rtol=1e-4, atol=1e-4)
    assert level.usage.sum() == 72
    assert level.is_initialized


def test_kmeans_never_gets_worse_and_copes_with_fewer_vectors_than_centres():
    vectors = torch.randn(200, 3)
    torch.manual_seed(1)
    few = (vectors - (centres := kmeans(vectors, 10, 0))[nearest(vectors, centres)]).square().sum()
    torch.manual_seed(1)
    more = (vectors - (centres := kmeans(vectors, 10, 20))[nearest(vectors, centres)]).square().sum()
    assert more < few
    assert set(kmeans(vectors[:2], 5, 3)[:, 0].tolist()) <= set(vectors[:2, 0].tolist())


def test_one_step_of_the_running_mean_is_the_formula():
    """Usage and sum decay by 0.9 and gain a tenth of the batch's; an entry is their quotient."""
    level = one_level([0.0, 10.0], usage=[4.0, 2.0])
    codes, quantized, loss = level(torch.tensor([[[1.0], [2.0], [9.0]]]), learn=True)
    assert codes.tolist() == [[0, 0, 1]]
    assert quantized.flatten().tolist() == [0.0, 0.0, 10.0], "what is decoded is the codebook before the step"
    torch.testing.assert_close(loss, torch.tensor((1.0 + 4.0 + 1.0) / 3))
    torch.testing.assert_close(level.usage, torch.tensor([0.9 * 4 + 0.1 * 2, 0.9 * 2 + 0.1 * 1]))
    torch.testing.assert_close(level.codebook_sum.flatten(), torch.tensor([0.1 * 3, 0.9 * 20 + 0.1 * 9]))
    expected = torch.tensor([0.3 / 3.8, 18.9 / 1.9])
    torch.testing.assert_close(level.codebook.flatten(), expected, rtol=1e-4, atol=0)


def test_a_dead_entry_starts_again_on_the_data_and_stays_there():
    """Only the entry was moved once; usage and sum pulled it straight back (facebookresearch/encodec#61)."""
    level = one_level([0.0, 500.0], usage=[40.0, 0.0], dead_code_threshold=1.0)
    batch = torch.tensor([[[5.0], [5.0], [5.0]]])
    level(batch, learn=True)
    torch.testing.assert_close(level.codebook[1], torch.tensor([5.0]), rtol=1e-4, atol=0)
    assert level.usage[1] >= 1.0, "or the next step would find it dead again"
    torch.testing.assert_close(level.codebook_sum[1], 5.0 * level.usage[1:], rtol=1e-6, atol=0)
    level(batch + 0.1, learn=True)
    assert 5.0 <= float(level.codebook[1]) <= 5.1
    assert level(batch, learn=False)[0].tolist() == [[1, 1, 1]]


def test_an_entry_that_is_used_is_never_moved_onto_data():
    level = one_level([0.0, 500.0], usage=[40.0, 30.0], dead_code_threshold=1.0)
    level(torch.tensor([[[5.0]]]), learn=True)
    torch.testing.assert_close(level.codebook[1], torch.tensor([500.0]), rtol=1e-4, atol=0)


@pytest.mark.parametrize("copies", [1, 50])
def test_a_relative_threshold_does_not_depend_on_the_size_of_the_batch(copies):
    """Usage counts vectors: in a large batch rare entries pass an absolute threshold, in a small one none does."""
    usage = [copies * 6.0, copies * 6.0, copies * 0.5]
    level = one_level([0.0, 10.0, 500.0], usage, dead_code_threshold=0.3, dead_code_relative=True)
    level(torch.tensor([[[0.0], [10.0], [0.0], [10.0]]]).repeat(copies, 1, 1), learn=True)
    restarted = float(level.codebook[2]) < 11
    assert restarted
    kept = one_level([0.0, 10.0, 500.0], [copies * 6.0] * 3, dead_code_threshold=0.3, dead_code_relative=True)
    kept(torch.tensor([[[0.0], [10.0], [0.0], [10.0]]]).repeat(copies, 1, 1), learn=True)
    assert float(kept.codebook[2]) > 499


@BOTH
def test_frozen_and_evaluated_codebooks_never_change(config):
    quantizer = random_quantizer(config)
    before = copy.deepcopy(quantizer.state_dict())
    quantizer.eval()(torch.randn(2, 6, 9))
    quantizer.is_frozen = True
    quantizer.train()(torch.randn(2, 6, 9))
    quantizer.encode(torch.randn(2, 6, 9))
    assert all(torch.equal(tensor, before[name]) for name, tensor in quantizer.state_dict().items())
    quantizer.is_frozen = False
    quantizer(torch.randn(2, 6, 9))
    assert not torch.equal(quantizer.levels[0].codebook, before["levels.0.codebook"])


def test_without_projections_the_gradient_passes_straight_through():
    quantizer, latents = random_quantizer(SMALL), torch.randn(2, 6, 5, requires_grad=True)
    weights = torch.randn(2, 6, 5)
    (quantizer(latents).latents * weights).sum().backward()
    assert torch.equal(latents.grad, weights)


def test_projections_and_latents_get_gradients_from_both_losses():
    quantizer, latents = random_quantizer(PROJECTED), torch.randn(2, 6, 5, requires_grad=True)
    quantized = quantizer(latents)
    inputs = [latents, *quantizer.parameters()]
    of_latents = torch.autograd.grad(quantized.latents.square().sum(), inputs, retain_graph=True)
    assert len(of_latents) == 1 + 2 * 3
    assert all(gradient.abs().sum() > 0 for gradient in of_latents)
    of_loss = torch.autograd.grad(quantized.commitment_loss, inputs, allow_unused=True)
    assert of_loss[0].abs().sum() > 0
    names = [name for name, _ in quantizer.named_parameters()]
    for name, gradient in zip(names, of_loss[1:], strict=True):
        assert "project_in" not in name or gradient.abs().sum() > 0


def test_the_commitment_loss_is_the_mean_squared_distance_of_all_levels():
    quantizer, latents = random_quantizer(SMALL).eval(), torch.randn(2, 6, 5)
    quantized, left, losses = quantizer(latents), latents, []
    for level, codes in zip(quantizer.levels, quantized.codes.unbind(1), strict=True):
        left = left - level.codebook[codes].transpose(1, 2)
        losses.append(left.square().mean())
    torch.testing.assert_close(quantized.commitment_loss, torch.stack(losses).mean())


def test_the_first_batches_pass_as_they_are_and_start_no_codebook():
    quantizer = ResidualVectorQuantizer(replace(SMALL, unquantized_batches=2)).train()
    latents = torch.randn(2, 6, 9)
    for _ in range(2):
        quantized = quantizer(latents)
        assert torch.equal(quantized.latents, latents)
        assert quantized.commitment_loss == 0
        assert not quantizer.levels[0].is_initialized
    assert not torch.equal(quantizer(latents).latents, latents)
    assert quantizer.levels[0].is_initialized


@BOTH
def test_a_state_that_is_saved_and_loaded_learns_on_as_before(config):
    quantizer = random_quantizer(config)
    other = ResidualVectorQuantizer(config)
    other.load_state_dict(quantizer.state_dict())
    latents = torch.randn(2, 6, 9)
    ours, theirs = quantizer(latents), other(latents)
    assert torch.equal(ours.latents, theirs.latents)
    assert all(torch.equal(a, b) for a, b in zip(quantizer.buffers(), other.buffers(), strict=True))


def test_half_precision_latents_are_compared_in_float32():
    quantizer, latents = random_quantizer(SMALL).eval(), torch.randn(2, 6, 5).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quantized = quantizer(latents)
    assert quantized.latents.dtype == torch.bfloat16
    assert torch.equal(quantized.codes, quantizer(latents.float()).codes)


@pytest.mark.parametrize(
    "fields",
    [{"dim": 0}, {"num_codebooks": 0}, {"codebook_size": 0}, {"codebook_dim": 0}, {"decay": 0.0}, {"decay": 1.0}],
)
def test_a_config_that_makes_no_quantiser_is_refused(fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        RVQConfig(**fields)
    assert from_dict(RVQConfig, to_dict(SMALL)) == SMALL
