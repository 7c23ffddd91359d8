"""Every runtime computes with an adapter what the model's own forward pass does, and the base stays as it is."""

import copy

import pytest
import torch

from descant.adapters import Adapter, LoraConfig, LowRank, new_adapter
from descant.adapters.layers import adapted
from descant.generation.runtimes import EagerRuntime, NativeRuntime, StaticRuntime
from descant.nn.inputs import LMInputs

NUM_STEPS = 12


def drawn(model, seed=0, rank=3) -> Adapter:
    """Of all matrices but one, and of a table of embeddings."""
    generator = torch.Generator().manual_seed(seed)
    changes = {}
    for name, parts in new_adapter(model, LoraConfig(rank=rank), generator).changes.items():
        changes[name] = tuple(LowRank(part.down, torch.randn(part.up.shape, generator=generator) / 4) for part in parts)
    changes["lm.blocks.0.self_attention.qkv.weight"] = (*changes["lm.blocks.0.self_attention.qkv.weight"][:2], None)
    del changes["lm.heads.1.weight"]
    rows, width = model.lm.embeddings[0].weight.shape
    table = LowRank(torch.randn(2, width, generator=generator), torch.randn(rows, 2, generator=generator))
    return Adapter({**changes, "lm.embeddings.0.weight": (table,)})


def inputs_of(model) -> LMInputs:
    return model.inputs(model.prepare([{"text": "warm slow piano"}, {"text": "drums"}]), model.span())


@torch.inference_mode()
def logits_of(session, inputs, sequence) -> torch.Tensor:
    slots, first = session.join(inputs, sequence[:, :, :5], NUM_STEPS)
    later = [session.step(slots, sequence[:, :, step]) for step in range(5, NUM_STEPS)]
    session.leave(slots)
    return torch.stack([first, *later], dim=2)


RUNTIMES = {
    "eager": (EagerRuntime, 1e-5),
    "static": (lambda lm: StaticRuntime(lm, is_captured=False), 1e-4),
    "native": (NativeRuntime, 1e-4),
    "native int8": (lambda lm: NativeRuntime(lm, "int8"), 0.1),
}


@pytest.mark.parametrize(("make", "tolerance"), RUNTIMES.values(), ids=RUNTIMES)
def test_logits_are_those_of_the_adapted_model(make_model, make, tolerance):
    model = make_model(lm_changes={"width": 32})
    adapter = drawn(model)
    sequence = torch.randint(0, 32, (2, 4, NUM_STEPS), generator=torch.Generator().manual_seed(1))
    inputs = inputs_of(model)
    with torch.inference_mode():
        expected = adapted(model, adapter).lm(sequence, inputs)[:, :, 4:]
    base = make(copy.deepcopy(model.lm))
    before = logits_of(base.start(), inputs, sequence)
    model.lm = base.lm
    runtime = base.adapted(adapted(model, adapter).lm)
    found = logits_of(runtime.start(), inputs, sequence)
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * scale)
    assert (expected - before).abs().max() > 0.5 * scale
    assert torch.equal(logits_of(base.start(), inputs, sequence), before)


def test_packed_weights_are_shared_and_follow_the_base(make_model):
    model = make_model(lm_changes={"width": 32})
    base = NativeRuntime(model.lm)
    runtime = base.adapted(adapted(model, drawn(model)).lm)
    pairs = list(zip(base.weights.matrices(), runtime.weights.matrices(), strict=True))
    assert all(own.panels is theirs.panels for own, theirs in pairs)
    sequence = torch.randint(0, 32, (2, 4, NUM_STEPS), generator=torch.Generator().manual_seed(1))
    inputs = inputs_of(model)
    before = logits_of(runtime.start(), inputs, sequence)
    with torch.no_grad():
        model.lm.get_parameter("blocks.1.mlp.down.weight").mul_(3)
    after = logits_of(runtime.start(), inputs, sequence)
    assert not torch.allclose(before, after, atol=1e-2)
    with torch.inference_mode():
        torch.testing.assert_close(after, runtime.lm(sequence, inputs)[:, :, 4:], rtol=0, atol=1e-3)


def test_a_rows_bits_do_not_depend_on_other_rows(make_model):
    model = make_model(lm_changes={"width": 32})
    runtime = NativeRuntime(model.lm, "int8").adapted(adapted(model, drawn(model)).lm)
    sequence = torch.randint(0, 32, (2, 4, NUM_STEPS), generator=torch.Generator().manual_seed(1))
    inputs = inputs_of(model)
    both = logits_of(runtime.start(), inputs, sequence)
    for row in (0, 1):
        alone = logits_of(runtime.start(), inputs.rows(torch.tensor([row])), sequence[row : row + 1])
        assert torch.equal(alone[0], both[row])
