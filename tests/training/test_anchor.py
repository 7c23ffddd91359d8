"""Tuning that keeps a model as it was for prompts without the trigger word."""

import pytest
import torch

from descant.adapters import LoraConfig
from descant.data.trigger import rows_of, with_captions
from descant.errors import ConfigError
from descant.training.adapters import AdapterTask
from descant.training.anchor import AnchorConfig, AnchoredTask
from descant.training.lm import LMTask, LMTaskConfig
from descant.training.optim import AdamWConfig
from descant.training.task import StepContext
from descant.training.trainer import Trainer
from tests.training.test_adapter_task import Scales


class Triggered:
    def batch(self, step):
        batch = Scales().batch(step)
        return with_captions(batch, [f"mymusic, {caption}" for caption in batch.captions])


def task_of(model, **anchor) -> AnchoredTask:
    tuned = AdapterTask(model, LoraConfig(rank=8, alpha=8.0), LMTaskConfig(), [Triggered().batch(1_000)])
    return AnchoredTask(tuned, LMTask(model, LMTaskConfig()), AnchorConfig(**anchor))


def context(step: int) -> StepContext:
    return StepContext(step, torch.Generator().manual_seed(step), {})


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("batch", [1, 4])
def test_the_compared_rows_are_the_share_on_average(share, batch):
    generator = torch.Generator().manual_seed(0)
    rows = [AnchorConfig(share=share).num_rows(batch, generator) for _ in range(2_000)]
    assert sum(rows) / len(rows) == pytest.approx(share * batch, abs=0.05)
    assert max(rows) - min(rows) <= 1


def test_before_the_first_step_nothing_differs_from_the_original(tiny_model):
    task = task_of(tiny_model, share=0.5)
    loss, metrics = task.loss("lm", Triggered().batch(0), context(0))
    assert metrics["divergence"] == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(loss, metrics["ce"])
    with torch.no_grad():
        assert task.validate()["divergence"] == pytest.approx(0, abs=1e-6)


def test_rows_one_by_one_weigh_on_average_what_they_weigh_together(tiny_model):
    task = task_of(tiny_model, share=0.5)
    rows = Triggered().batch(0)
    with torch.no_grad():
        together = float(task.loss("lm", rows, context(0))[0])
        alone = [float(task.loss("lm", rows_of(rows, slice(1)), context(step))[0]) for step in range(60)]
        first = float(task.tuned.loss("lm", rows_of(rows, slice(1)), context(0))[0])
    count = sum(loss > 1 for loss in alone)
    assert [loss for loss in alone if loss > 1] == pytest.approx([2 * first] * count, rel=0.1), (
        "half of the rows, twice as heavy"
    )
    assert 15 < count < 45
    assert together > 1


def test_a_step_with_compared_rows_alone_learns_no_music(tiny_model):
    one = rows_of(Triggered().batch(0), slice(1))
    learned = {frozenset(task_of(tiny_model, share=0.5).loss("lm", one, context(step))[1]) for step in range(8)}
    assert frozenset({"divergence"}) in learned
    assert all(("ce" in names) != ("divergence" in names) for names in learned)


@pytest.mark.usefixtures("unchecked")
def test_the_anchor_keeps_other_prompts_close_and_lets_the_music_be_learned(toy, tiny_model, tmp_path):
    results = {}
    for share in (0.0, 0.5):
        task = task_of(tiny_model, share=share)
        fields = {"max_steps": 40, "save_every": 40, "ema_decay": None, "optimizer": AdamWConfig(lr=0.03)}
        Trainer(task, Triggered(), toy.config(**fields), tmp_path / str(share)).run()
        measured = AnchoredTask(task.tuned, task.original, AnchorConfig())
        measured.trained.eval()
        with torch.no_grad():
            results[share] = measured.validate()
            first = LMTask(tiny_model, LMTaskConfig(), [Triggered().batch(1_000)]).validate()["ce"]
    assert results[0.5]["divergence"] < 0.25 * results[0.0]["divergence"]
    assert results[0.5]["ce"] < 0.8 * first


@pytest.mark.parametrize(
    "fields", [{"share": 1.0}, {"share": -0.1}, {"weight": -1.0}, {"no_prompt": 2.0}, {"prompts": ()}], ids=str
)
def test_an_impossible_anchor_is_refused(fields):
    with pytest.raises(ConfigError, match=next(iter(fields))):
        AnchorConfig(**fields)
