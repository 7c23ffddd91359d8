"""The language model: its cache, its conditions, its initial weights."""

import math
from dataclasses import replace

import pytest
import torch

from descant.errors import ConfigError, InvalidRequest
from descant.lm import LMConfig, MusicLM, pattern_cross_entropy
from descant.nn.inputs import LMInputs
from descant.nn.transformer import TransformerConfig
from descant.patterns import delay, interleave

CONFIG = LMConfig(num_codebooks=3, codebook_size=11, transformer=TransformerConfig(width=16, num_heads=2, num_layers=3))
NEW = replace(CONFIG, transformer=replace(CONFIG.transformer, qk_norm=True, residual_scale=True, positions="rotary"))


def lively(config):
    """A model whose every parameter matters: at first its norms and scales would hide some mistakes."""
    lm = MusicLM(config).eval()
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return lm


@pytest.fixture(scope="module", params=[CONFIG, NEW], ids=["released", "new"])
def lm(request):
    torch.manual_seed(0)
    return lively(request.param)


@pytest.fixture
def sequence():
    return torch.randint(0, 12, (3, 3, 9))


CROSS = LMInputs(
    cross=torch.randn(3, 4, 16), cross_mask=torch.tensor([[True] * 4, [False] * 4, [True, True, False, False]])
)
PREFIX = LMInputs(prefix=torch.randn(3, 5, 16))
CONDITIONS = {
    "none": LMInputs(),
    "cross": CROSS,
    "prefix": PREFIX,
    "both": replace(CROSS, prefix=PREFIX.prefix),
    "sum": LMInputs(sum=torch.randn(3, 1, 16)),
    "output": LMInputs(output=torch.randn(3, 1, 16)),
    "all": replace(CROSS, prefix=PREFIX.prefix, sum=torch.randn(3, 9, 16), output=torch.randn(3, 1, 16)),
}


@pytest.fixture(params=CONDITIONS)
def inputs(request):
    return CONDITIONS[request.param]


@torch.inference_mode()
def through_cache(lm, sequence, inputs, cuts):
    cache = lm.new_cache(batch=len(sequence), max_steps=sequence.shape[-1], inputs=inputs)
    return torch.cat([lm(steps, inputs, cache) for steps in sequence.split(cuts, dim=-1)], dim=2)


@pytest.mark.parametrize("cuts", [[1] * 9, [4, 1, 1, 3], [9]], ids=str)
def test_cached_steps_give_the_logits_of_one_pass(lm, sequence, inputs, cuts):
    torch.testing.assert_close(through_cache(lm, sequence, inputs, cuts), lm(sequence, inputs), rtol=0, atol=1e-5)


def test_logits_come_for_the_sequence_and_not_for_the_prefix(lm, sequence, inputs):
    assert lm(sequence, inputs).shape == (3, 3, 9, 11)


def test_every_condition_changes_the_logits(lm, sequence, inputs):
    unconditional = lm(sequence)
    if inputs is not CONDITIONS["none"]:
        assert not torch.allclose(lm(sequence, inputs)[0], unconditional[0], atol=1e-3)


def test_a_null_row_is_the_model_without_a_condition(lm, sequence):
    logits = lm(sequence, CROSS)
    assert logits.isfinite().all()
    torch.testing.assert_close(logits[1], lm(sequence[1:2])[0], rtol=0, atol=1e-5)


def test_a_row_does_not_depend_on_its_batch_mates(lm, sequence, inputs):
    together = lm(sequence, inputs)
    for row in range(3):
        index = torch.tensor([row])
        torch.testing.assert_close(lm(sequence[index], inputs.rows(index)), together[index], rtol=0, atol=1e-5)


def test_future_codes_do_not_change_past_logits(lm, sequence, inputs):
    changed = sequence.clone()
    changed[:, :, 6:] = (changed[:, :, 6:] + 1) % 12
    before, after = lm(sequence, inputs), lm(changed, inputs)
    torch.testing.assert_close(after[:, :, :6], before[:, :, :6], rtol=0, atol=1e-6)
    assert not torch.allclose(after[:, :, 6:], before[:, :, 6:], atol=1e-3)


def test_positions_count_the_prefix(lm, sequence):
    """With a prefix of embedded codes, the logits are those of the codes in front of the sequence."""
    embedded = sum(table(codes) for table, codes in zip(lm.embeddings, sequence.unbind(1), strict=True))
    prefixed = lm(sequence[:, :, 4:], LMInputs(prefix=embedded[:, :4]))
    torch.testing.assert_close(prefixed, lm(sequence)[:, :, 4:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("config", [CONFIG, NEW], ids=["released", "new"])
def test_every_parameter_learns(config):
    lm, pattern = MusicLM(config), delay(3)
    codes = torch.randint(0, 11, (2, 3, 6))
    sequence = interleave(codes, pattern.steps(6), pattern.training_length(6), lm.special_code)
    pattern_cross_entropy(lm(sequence, LMInputs(cross=torch.randn(2, 4, 16))), codes, pattern)[0].backward()
    still = [name for name, parameter in lm.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not still


def test_a_step_beyond_the_cache_is_refused(lm, sequence):
    cache = lm.new_cache(3, 8)
    with pytest.raises(InvalidRequest, match="step 9 does not fit"):
        lm(sequence, None, cache)


def test_a_sum_that_ends_before_the_sequence_is_refused(lm, sequence):
    with pytest.raises(InvalidRequest, match="has 8 steps"):
        lm(sequence, LMInputs(sum=torch.randn(3, 8, 16)))


def test_a_model_without_cross_attention_refuses_a_cross_condition(sequence):
    lm = MusicLM(replace(CONFIG, transformer=replace(CONFIG.transformer, has_cross_attention=False)))
    assert not [name for name, _ in lm.named_parameters() if "cross" in name]
    with pytest.raises(InvalidRequest, match="no cross-attention"):
        lm(sequence, CROSS)


def test_a_model_that_attends_to_later_steps_is_refused():
    with pytest.raises(ConfigError, match="is_causal"):
        MusicLM(replace(CONFIG, transformer=replace(CONFIG.transformer, is_causal=False)))


def test_initial_weights_shrink_with_depth():
    torch.manual_seed(0)
    width = 128
    lm = MusicLM(replace(CONFIG, transformer=replace(CONFIG.transformer, width=width)))
    for layer, block in enumerate(lm.blocks):
        for linear in (block.self_attention.out, block.cross_attention.out, block.mlp.up, block.mlp.down):
            std = 1 / math.sqrt(linear.in_features * 2 * (layer + 1))
            assert linear.weight.std().item() == pytest.approx(0.987 * std, rel=0.03)  # cut off at 3 std: 1.3 % less
            assert linear.weight.abs().max() <= 3 * std
    for matrix in (lm.embeddings[0].weight, lm.heads[2].weight):
        assert matrix.std().item() == pytest.approx(0.987 / math.sqrt(width), rel=0.05)


def test_half_precision_runs_and_stays_near(lm, sequence):
    """Positions are rounded after they are computed, so that the hidden states keep the precision of the weights."""
    half = lively(lm.config).to(torch.bfloat16)
    half.load_state_dict(lm.state_dict())
    inputs = CROSS.to(torch.device("cpu"), torch.bfloat16)
    logits = through_cache(half, sequence, inputs, [4, 1, 1, 3])
    assert logits.dtype == torch.bfloat16
    exact = lm(sequence, CROSS)
    assert (logits.float() - exact).norm() < 0.05 * exact.norm()
