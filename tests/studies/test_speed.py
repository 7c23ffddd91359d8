"""How speed is measured."""

import pytest
import torch

import descant
from descant.lm.model import MusicLM
from descant.presets import PRESETS
from descant.studies import speed


@pytest.fixture(autouse=True)
def small_ceiling(monkeypatch):
    monkeypatch.setattr(speed, "COPY_BYTES", {"cpu": 1 << 20})
    monkeypatch.setattr(speed, "PRODUCT_SIZE", {"cpu": 64})


def test_a_step_reads_every_weight_but_the_embeddings():
    lm = MusicLM(PRESETS["tiny"]().lm)
    embeddings = sum(parameter.numel() for parameter in lm.embeddings.parameters())
    assert speed.step_bytes(lm) == 4 * (sum(parameter.numel() for parameter in lm.parameters()) - embeddings)


def test_arithmetic_is_counted_as_two_operations_a_product():
    a = torch.ones(3, 5)
    assert speed.count_flops(lambda: a @ a.T) == 2 * 3 * 5 * 3


def test_shares_of_the_ceiling_are_what_the_other_numbers_say():
    result = speed.decode_speed(descant.load("tiny"), 0.2, repeats=1)
    assert result["ceiling_steps_per_s"] * result["share_of_ceiling"] == pytest.approx(result["steps_per_s"])
    assert result["real_time_factor"] == pytest.approx(result["seconds"] / 0.2)
    assert torch.backends.cpu.get_cpu_capability() in result["processor"]
    assert len(result["processor"]) > 10
    assert result["ms_per_step"] * result["steps_per_s"] == pytest.approx(1_000)
