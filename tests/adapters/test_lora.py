"""Adapters: computed beside the weights, merged and stacked they are the same; the model itself stays as it is."""

import pytest
import torch

from descant.adapters import Adapter, LoraConfig, LowRank, adaptable, new_adapter, stacked
from descant.adapters.layers import AdaptedLinear, adapted, merged
from descant.errors import ConfigError, InvalidRequest
from descant.nn.inputs import LMInputs


def logits(model):
    sequence = torch.randint(0, 32, (2, 4, 9), generator=torch.Generator().manual_seed(1))
    inputs = model.inputs(model.prepare([{"text": "warm piano"}, {"text": "fast drums"}]), model.span())
    return model.lm(sequence, inputs)


@torch.no_grad()
def test_a_new_adapter_changes_nothing(tiny_model):
    adapter = new_adapter(tiny_model, LoraConfig(rank=2))
    assert adapter.num_parameters > 0
    assert torch.equal(logits(adapted(tiny_model, adapter).eval()), logits(tiny_model))


@torch.no_grad()
def test_merged_is_computed_beside(tiny_model, make_adapter):
    adapter, before = make_adapter(tiny_model), logits(tiny_model)
    beside = logits(adapted(tiny_model, adapter))
    torch.testing.assert_close(logits(merged(tiny_model, adapter)), beside, rtol=0, atol=1e-5)
    assert (beside - before).abs().max() > 0.1
    assert torch.equal(logits(tiny_model), before)


@torch.no_grad()
def test_every_matrix_of_the_language_model_is_reached(tiny_model, make_adapter):
    """Each is changed alone, and the merged weights say that the change is in the right rows."""
    whole = make_adapter(tiny_model)
    reached = [name for name in adaptable(tiny_model) if name.startswith("lm.") and "embeddings" not in name]
    assert sorted(whole.changes) == sorted(reached)
    before = logits(tiny_model)
    for name, parts in whole.changes.items():
        for index in range(len(parts)):
            alone = Adapter({name: tuple(part if i == index else None for i, part in enumerate(parts))})
            beside = logits(adapted(tiny_model, alone))
            assert (beside - before).abs().max() > 1e-3, (name, index)
            torch.testing.assert_close(logits(merged(tiny_model, alone)), beside, rtol=0, atol=1e-5)


@torch.no_grad()
def test_stacked_adapters_add_their_changes_at_their_strengths(tiny_model, make_adapter):
    first, second = make_adapter(tiny_model, 1), make_adapter(tiny_model, 2, rank=5, targets=("mlp", "heads"))
    both = merged(tiny_model, stacked([(first, 0.5), (second, -2.0)]))
    for name, weight in tiny_model.named_parameters():
        change = sum(
            strength * torch.cat([part.dense() for part in adapter.changes[name]])
            for adapter, strength in ((first, 0.5), (second, -2.0))
            if name in adapter.changes
        )
        torch.testing.assert_close(both.get_parameter(name), weight + change, rtol=0, atol=1e-6)
    nothing = stacked([(first, 0.0)])
    assert torch.equal(logits(adapted(tiny_model, nothing)), logits(tiny_model))


@torch.no_grad()
def test_embeddings_and_projections_are_changed_too(tiny_model):
    generator = torch.Generator().manual_seed(3)
    for name in ("lm.embeddings.1.weight", "text.project.weight"):
        rows, columns = adaptable(tiny_model)[name]
        change = LowRank(torch.randn(2, columns, generator=generator), torch.randn(rows, 2, generator=generator))
        beside = adapted(tiny_model, Adapter({name: (change,)}))
        assert (logits(beside) - logits(tiny_model)).abs().max() > 1e-2
        torch.testing.assert_close(logits(merged(tiny_model, Adapter({name: (change,)}))), logits(beside))


def test_only_the_adapter_learns_and_its_model_takes_no_more_memory(tiny_model, make_adapter):
    adapter = make_adapter(tiny_model)
    tensors = [tensor for parts in adapter.changes.values() for part in parts for tensor in (part.down, part.up)]
    for tensor in tensors:
        tensor.requires_grad_()
    model = adapted(tiny_model, adapter)
    shared = {parameter.data_ptr() for parameter in tiny_model.parameters()}
    assert {parameter.data_ptr() for parameter in model.parameters()} <= shared
    logits(model).square().sum().backward()
    assert all(tensor.grad is not None and tensor.grad.abs().sum() > 0 for tensor in tensors)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 4, bias=False)
    change = LowRank(torch.randn(2, 8) / 3, torch.randn(4, 2) / 3)
    beside, x = AdaptedLinear(layer, [change], torch.nn.Dropout(0.5)), torch.randn(64, 8)
    assert torch.equal(beside.eval()(x), beside(x))
    draws = torch.stack([beside.train()(x) for _ in range(600)])
    assert not torch.equal(draws[0], draws[1])
    torch.testing.assert_close(draws.mean(dim=0), beside.eval()(x), rtol=0, atol=0.2)
    assert (draws[0] - beside(x)).abs().max() > 0.5


def test_an_adapter_of_another_model_is_refused(tiny_model, make_model, make_adapter):
    wide = make_model(lm_changes={"width": 64})
    with pytest.raises(InvalidRequest, match=r"blocks\.0\.self_attention\.qkv\.weight as .*this model has"):
        adapted(tiny_model, make_adapter(wide))
    deep = make_model(lm_changes={"num_layers": tiny_model.config.lm.transformer.num_layers + 1})
    with pytest.raises(InvalidRequest, match="which this model does not have"):
        merged(tiny_model, make_adapter(deep))
    with pytest.raises(InvalidRequest, match="different sizes"):
        stacked([(make_adapter(tiny_model), 1.0), (make_adapter(wide), 1.0)])


@pytest.mark.parametrize("wrong", [{"rank": 0}, {"rank": 10_000}, {"alpha": 0.0}, {"dropout": 1.0}, {"targets": ()}])
def test_shapes_that_cannot_be_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LoraConfig(**wrong)


@torch.no_grad()
def test_a_cache_gives_what_one_pass_gives(tiny_model, make_adapter):
    model = adapted(tiny_model, make_adapter(tiny_model))
    sequence = torch.randint(0, 32, (1, 4, 6), generator=torch.Generator().manual_seed(1))
    inputs = model.inputs(model.prepare([{"text": "warm piano"}]), model.span())
    cache = model.lm.new_cache(1, 6, inputs)
    steps = torch.cat([model.lm(step, inputs, cache) for step in sequence.split(1, dim=-1)], dim=2)
    torch.testing.assert_close(steps, model.lm(sequence, inputs), rtol=0, atol=1e-5)
    assert not torch.allclose(steps, tiny_model.lm(sequence, LMInputs()), atol=1e-2)
