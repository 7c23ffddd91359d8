import sys
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from descant.errors import CheckpointError, ConfigError, MissingExtra
from descant.nn.attention import HeadNorm
from descant.training.optim import (
    AdamWConfig,
    Cosine,
    PlateauLinear,
    load_optimizer_tensors,
    make_optimizer,
    optimizer_tensors,
)


@pytest.mark.parametrize("schedule", [Cosine(warmup_steps=10), PlateauLinear(warmup_steps=10)])
def test_a_schedule_warms_up_and_ends_at_zero(schedule):
    factors = [schedule.factor(step, max_steps=100) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[100] == pytest.approx(0.0, abs=1e-12)
    assert 0 < factors[99] < 0.03
    assert all(before >= after for before, after in pairwise(factors[10:]))


def test_the_cosine_ends_at_its_minimum_and_is_midway_at_half_time():
    schedule = Cosine(warmup_steps=0, min_ratio=0.2)
    assert schedule.factor(0, 100) == 1.0
    assert schedule.factor(50, 100) == pytest.approx(0.6)
    assert schedule.factor(100, 100) == pytest.approx(0.2)


def test_the_plateau_does_not_depend_on_the_length_until_it_decays():
    schedule = PlateauLinear(warmup_steps=5, decay_fraction=0.5)
    assert [schedule.factor(step, 100) for step in range(51)] == [schedule.factor(step, 1_000) for step in range(51)]
    assert schedule.factor(75, 100) == pytest.approx(0.5)
    assert PlateauLinear(warmup_steps=0, decay_fraction=0.0).factor(99, 100) == 1.0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.conv = weight_norm(nn.Conv1d(4, 4, 3))
        self.norm = nn.LayerNorm(4)
        self.heads = HeadNorm(4)
        self.head = nn.Linear(4, 2)


def test_norms_biases_magnitudes_and_embeddings_are_not_decayed():
    net = Net()
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    optimizer = make_optimizer(AdamWConfig(weight_decay=0.3), dict(net.named_parameters()), net)
    decayed = {
        names[id(parameter)]
        for group in optimizer.param_groups
        for parameter in group["params"]
        if group["weight_decay"] == 0.3
    }
    assert decayed == {"head.weight", "conv.parametrizations.weight.original1"}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(names)


def stepped(net, optimizer, times):
    for time in range(times):
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, 0.1 * (time + 1))
        optimizer.step()


@pytest.mark.parametrize("adaptation", [None, "d-adaptation", "prodigy"])
def test_restored_optimiser_state_continues_exactly(adaptation):
    if adaptation is not None:
        pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer")
    config = AdamWConfig(lr=1.0, adaptation=adaptation)
    one, two = Net(), Net()
    first = make_optimizer(config, dict(one.named_parameters()), one)
    stepped(one, first, 12)
    two.load_state_dict(one.state_dict())
    second = make_optimizer(config, dict(two.named_parameters()), two)
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(first, dict(one.named_parameters())).items()}
    load_optimizer_tensors(second, dict(two.named_parameters()), saved)
    stepped(one, first, 2)
    stepped(two, second, 2)
    for ours, theirs in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("adaptation", ["d-adaptation", "prodigy"])
def test_an_adaptive_optimiser_finds_its_own_learning_rate(adaptation):
    """A quadratic that is solved whatever its scale, with the same lr of 1."""
    pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer")
    for scale in (0.1, 10.0):
        net = nn.Linear(4, 1, bias=False)
        nn.init.zeros_(net.weight)
        config = AdamWConfig(lr=1.0, weight_decay=0.0, adaptation=adaptation)
        optimizer = make_optimizer(config, dict(net.named_parameters()), net)
        for _ in range(300):
            optimizer.zero_grad()
            (net.weight - scale).square().sum().backward()
            optimizer.step()
        assert (net.weight - scale).abs().max() < 0.2 * scale


def test_an_adaptive_optimiser_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    net = Net()
    with pytest.raises(MissingExtra, match=r"descant\[adaptation\]"):
        make_optimizer(AdamWConfig(adaptation="prodigy"), dict(net.named_parameters()), net)


def test_state_of_another_model_is_refused():
    net = Net()
    optimizer = make_optimizer(AdamWConfig(), dict(net.named_parameters()), net)
    with pytest.raises(CheckpointError, match="not trained here"):
        load_optimizer_tensors(optimizer, dict(net.named_parameters()), {"tail.weight::exp_avg": torch.zeros(2, 4)})
    with pytest.raises(CheckpointError, match="shape"):
        load_optimizer_tensors(optimizer, dict(net.named_parameters()), {"head.weight::exp_avg": torch.zeros(2, 3)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdamWConfig(lr=0.0), "lr=0"),
        (lambda: AdamWConfig(lr=float("nan")), "lr=nan"),
        (lambda: AdamWConfig(betas=(0.9, 1.0)), "betas"),
        (lambda: AdamWConfig(weight_decay=-0.1), "weight_decay"),
        (lambda: Cosine(min_ratio=2.0), "min_ratio"),
        (lambda: PlateauLinear(decay_fraction=1.5), "decay_fraction"),
        (lambda: PlateauLinear(warmup_steps=-1), "warmup_steps"),
    ],
)
def test_config_values_outside_their_range_are_named(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("adaptation", ["d-adaptation", "prodigy"])
def test_an_adaptive_run_is_saved_and_resumes_with_the_same_bits(toy, tmp_path, adaptation):
    """Its groups share a tensor, which once made a run of the paper's small model fail at its first checkpoint."""
    pytest.importorskip("pytorch_optimizer", reason="pytorch_optimizer")

    def trainer(folder):
        optimizer = AdamWConfig(lr=1.0, adaptation=adaptation)
        return toy.trainer(tmp_path / folder, optimizer=optimizer, max_steps=20, save_every=10)

    whole = trainer("whole")
    whole.run()
    toy.stop_at(trainer("parts"), 13)
    parts = trainer("parts")
    parts.run(resume=True)
    assert toy.same_bits(toy.weights(parts), toy.weights(whole))
