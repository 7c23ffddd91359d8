"""An adapter learns beside a model that does not change, in checkpoints of its own size."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from descant.adapters import LoraConfig
from descant.adapters.layers import adapted
from descant.conditioning.dropout import ConditionDropout
from descant.data.shards import TokenizedClip
from descant.data.token_dataset import TokenBatch
from descant.training.adapters import AdapterTask
from descant.training.lm import LMTask, LMTaskConfig
from descant.training.optim import AdamWConfig
from descant.training.trainer import Trainer

CLIP = TokenizedClip(id="song", start_frame=0, num_frames=16, split="train", captions=(), tags={})
WORDS = ("piano", "drums", "flute", "bass")


class Scales:
    """Clips that rise by one code a frame from a code that their word decides."""

    def batch(self, step):
        words = torch.randint(0, 4, (4,), generator=torch.Generator().manual_seed(step))
        codes = (8 * words[:, None, None] + torch.arange(4)[:, None] + torch.arange(16)) % 32
        rows = [{"text": WORDS[word]} for word in words]
        return TokenBatch(codes, rows, torch.ones(4, 16, dtype=torch.bool), [CLIP] * 4, torch.zeros(4))


def task_of(model, **lora) -> AdapterTask:
    config = LMTaskConfig(dropout=ConditionDropout(probability=0.1))
    return AdapterTask(model, LoraConfig(**{"rank": 8, "alpha": 8.0, **lora}), config, [Scales().batch(1_000)])


def trainer_of(toy, task, folder: Path, **changes) -> Trainer:
    fields = {"max_steps": 9, "save_every": 4, "ema_decay": 0.9, **changes}
    return Trainer(task, Scales(), toy.config(**fields), folder)


def test_an_adapter_starts_at_the_models_loss_and_learns(toy, tiny_model, tmp_path):
    before = {name: tensor.clone() for name, tensor in tiny_model.state_dict().items()}
    plain = LMTask(tiny_model, LMTaskConfig(), [Scales().batch(1_000)])
    task = task_of(tiny_model)
    with torch.no_grad():
        first = plain.validate()["ce"]
        assert task.validate()["ce"] == pytest.approx(first)
    trainer = trainer_of(toy, task, tmp_path, max_steps=150, save_every=150, optimizer=AdamWConfig(lr=0.02))
    trainer.run()
    with trainer.averaged_model(), torch.no_grad():
        learned = LMTask(adapted(tiny_model, task.adapter), LMTaskConfig(), [Scales().batch(1_000)]).validate()["ce"]
    assert learned == pytest.approx(trainer.metrics["ce"])
    assert learned < 0.5 * first
    after = tiny_model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert all(parameter.grad is None for parameter in tiny_model.parameters())


def test_a_run_with_dropout_resumes_with_the_same_bits(toy, tiny_model, tmp_path):
    whole = trainer_of(toy, task_of(tiny_model, dropout=0.3), tmp_path / "whole")
    whole.run()
    for minutes in (1e-9, 1e-9, None):
        last = trainer_of(toy, task_of(tiny_model, dropout=0.3), tmp_path / "parts", max_minutes=minutes)
        last.run(resume=last.log.file.exists())
    assert toy.same_bits(toy.weights(last), toy.weights(whole))
    other = trainer_of(toy, task_of(tiny_model, dropout=0.0), tmp_path / "other")
    other.run()
    assert not toy.same_bits(toy.weights(other), toy.weights(whole))


def test_checkpoints_hold_the_adapter_alone(toy, tiny_model, tmp_path):
    task = task_of(tiny_model)
    checkpoint = trainer_of(toy, task, tmp_path).run().checkpoint
    (file,) = [file for file in checkpoint.iterdir() if file.name.startswith("trained")]
    with safe_open(file, "pt") as opened:
        count = sum(opened.get_tensor(name).numel() for name in opened.keys())  # noqa: SIM118
    assert count == task.adapter.num_parameters
