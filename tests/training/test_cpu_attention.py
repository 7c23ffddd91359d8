"""Attention of bfloat16 training on a CPU: that of PyTorch, multiplied out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from descant.nn.attention import SelfAttention
from descant.training.cpu_attention import UnfusedAttention, unfused_attention
from descant.training.task import Task
from descant.training.trainer_config import TrainerConfig
from descant.training.update import Updater

QUERIES, KEYS, VALUES = torch.randn(3, 2, 9, 8), torch.randn(3, 2, 9, 8), torch.randn(3, 2, 9, 8)
MASK = torch.arange(9) < torch.tensor([9, 1, 4])[:, None, None, None]


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"attn_mask": MASK}], ids=["all", "causal", "masked"])
def test_it_attends_as_torch_does_and_so_do_its_gradients(options):
    gradients = []
    for attend in (F.scaled_dot_product_attention, unfused_attention):
        inputs = [tensor.clone().requires_grad_() for tensor in (QUERIES, KEYS, VALUES)]
        attended = attend(*inputs, **options)
        gradients.append([attended, *torch.autograd.grad(attended.square().sum(), inputs)])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_dropout_applies():
    assert not torch.equal(*(unfused_attention(QUERIES, KEYS, VALUES, dropout_p=0.5) for _ in range(2)))


@pytest.fixture
def calls(monkeypatch):
    """The options of every call in the context."""
    seen = []
    monkeypatch.setattr(
        "descant.training.cpu_attention.unfused_attention",
        lambda *args, **options: seen.append(options) or unfused_attention(*args, **options),
    )
    return seen


def test_the_context_reaches_the_model_and_ends(calls):
    attention, hidden = SelfAttention(16, 2), torch.randn(1, 5, 16)
    with UnfusedAttention():
        inside = attention(hidden)
    assert len(calls) == 1
    torch.testing.assert_close(attention(hidden), inside)
    assert len(calls) == 1


class AttentionTask(Task):
    """Attention whose output is to be small."""

    criterion = "none"

    def __init__(self) -> None:
        self.model = self.trained = nn.ModuleDict({"attention": SelfAttention(16, 2)})

    def parameters(self):
        return {"model": dict(self.model.named_parameters())}

    def loss(self, phase, batch, context):  # noqa: ARG002
        return self.model["attention"](batch).square().mean(), {}

    def validate(self):
        return {}

    def identity(self):
        return {}


@pytest.mark.parametrize(("precision", "expected"), [("bf16", 1), ("fp32", 0)])
def test_training_in_bfloat16_uses_it(precision, expected, calls):
    config = TrainerConfig(max_steps=1, precision=precision, ema_decay=None)
    Updater(AttentionTask(), config, torch.device("cpu")).update(0, [torch.randn(2, 5, 16)])
    assert len(calls) == expected
