import pytest
import torch

from descant.conditioning.dropout import ConditionDropout
from descant.config import from_dict
from descant.errors import ConfigError


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rows_are_dropped_with_the_given_probability():
    rows = ConditionDropout(0.2, melody=0.5).rows(20_000, seeded(0))
    assert rows["text"].float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert rows["melody"].float().mean().item() == pytest.approx(0.2 + 0.8 * 0.5, abs=0.015)


def test_rows_of_a_batch_draw_for_themselves():
    """One draw per batch once left every fifth step without any condition, on all workers at once."""
    generator = seeded(1)
    counts = torch.tensor([ConditionDropout(0.5).rows(16, generator)["text"].sum().item() for _ in range(400)]).float()
    assert counts.mean().item() == pytest.approx(8, abs=0.4)
    assert counts.var().item() == pytest.approx(4, abs=1)  # binomial; a shared draw would give 64


def test_steps_differ_and_the_same_generator_state_gives_the_same_rows():
    generator = seeded(2)
    dropout = ConditionDropout(0.5)
    first, second = dropout.rows(64, generator)["text"], dropout.rows(64, generator)["text"]
    assert not torch.equal(first, second)
    assert torch.equal(first, dropout.rows(64, seeded(2))["text"])


def test_joint_dropout_takes_all_conditions_and_single_ones_are_independent():
    joint = ConditionDropout(0.3).rows(1_000, seeded(3))
    assert torch.equal(joint["text"], joint["melody"])
    single = ConditionDropout(0.0, text=0.5, melody=0.5).rows(20_000, seeded(3))
    assert (single["text"] & single["melody"]).float().mean().item() == pytest.approx(0.25, abs=0.015)


def test_a_melody_probability_does_not_change_who_loses_the_text():
    without, with_melody = ConditionDropout(0.2), ConditionDropout(0.2, melody=0.9)
    assert torch.equal(without.rows(100, seeded(4))["text"], with_melody.rows(100, seeded(4))["text"])


def test_a_new_condition_leaves_the_draws_of_the_others_as_they_were():
    """Runs of before there was CLAP lose the same conditions in the same steps: its draw comes last."""
    dropout = ConditionDropout(0.2, text=0.3, melody=0.4, style=0.5, clap=0.6)
    draws = torch.rand(4, 500, generator=seeded(6))
    rows = dropout.rows(500, seeded(6))
    for name, draw in zip(("text", "melody", "style"), draws[1:], strict=True):
        assert torch.equal(rows[name], (draws[0] < 0.2) | (draw < getattr(dropout, name)))
    assert rows["clap"].float().mean().item() == pytest.approx(0.2 + 0.8 * 0.6, abs=0.07)


def test_dropped_rows_are_the_null_condition_and_kept_rows_are_untouched(tiny_model):
    prepared = tiny_model.prepare([{"text": f"piano {row}"} for row in range(32)])
    rows = ConditionDropout(0.5).rows(32, seeded(5))
    kept = tiny_model.inputs(prepared, tiny_model.span())
    dropped = tiny_model.inputs(prepared, tiny_model.span(), rows)
    assert rows["text"].any()
    assert not rows["text"].all()
    assert not dropped.cross[rows["text"]].any()
    assert not dropped.cross_mask[rows["text"]].any()
    assert torch.equal(dropped.cross[~rows["text"]], kept.cross[~rows["text"]])
    assert dropped.cross_mask[~rows["text"]].all()


def test_every_condition_of_a_model_can_be_dropped(make_model, every_condition):
    model = make_model(**every_condition)
    dropped = ConditionDropout().rows(1, seeded(7))
    assert {conditioner.condition for conditioner in model.conditioners} == dropped.keys()


def test_probabilities_are_probabilities_and_unknown_keys_are_errors():
    with pytest.raises(ConfigError, match="between 0 and 1"):
        ConditionDropout(1.5)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        ConditionDropout(0.1, melody=float("nan"))
    with pytest.raises(ConfigError, match="unknown key"):
        from_dict(ConditionDropout, {"loudness": 0.5})
