"""A new condition needs a conditioner and nothing else: model, training task and precision follow."""

import pytest
import torch
from torch import nn

from descant.conditioning.base import Conditioner, Embedding
from descant.data.shards import TokenizedClip
from descant.data.token_dataset import TokenBatch
from descant.errors import InvalidRequest
from descant.model import MusicGenModel
from descant.training.lm import LMTask, LMTaskConfig
from descant.training.task import StepContext


class Energy(Conditioner[torch.Tensor]):
    """One number per row and frame, added to the steps; zero is the null condition."""

    name = condition = "energy"
    float32_parts = frozenset({"scale"})

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Linear(1, 1)
        self.project = nn.Linear(1, width)

    def prepare(self, rows):
        return [row.get("energy") for row in rows]

    def forward(self, prepared, span, drop=None):
        values = torch.zeros(len(prepared), len(span.input_frames), 1)
        for row, energy in enumerate(prepared):
            if energy is not None:
                values[row, :, 0] = energy[span.input_frames.long()]
        mask = torch.tensor([energy is not None for energy in prepared])[:, None].expand(values.shape[:2])
        values = self.project(self.scale(values).to(self.project.weight.dtype))
        return {"sum": Embedding.masked(values, mask, drop)}


@pytest.fixture
def model(make_model) -> MusicGenModel:
    made = make_model()
    torch.manual_seed(1)
    made.energy = Energy(made.config.lm.transformer.width)
    return made


def test_it_reaches_the_language_model_in_rows_that_have_it_and_do_not_drop_it(model):
    ramp = torch.linspace(0, 1, 6)
    prepared = model.prepare([{"energy": ramp}, {"text": "piano"}, {"energy": ramp}])
    summed = model.inputs(prepared, model.span(6), {"energy": torch.tensor([False, False, True])}).sum
    assert summed[0].any()
    assert not summed[1:].any()
    with pytest.raises(InvalidRequest, match="tempo: this model takes no tempo; it takes energy, text"):
        model.prepare([{"tempo": 120.0}])


def test_it_is_trained_with_the_language_model(model):
    clip = TokenizedClip(id="clip", start_frame=0, num_frames=6, split="train", captions=(), tags={})
    batch = TokenBatch(
        codes=torch.zeros(2, 4, 6, dtype=torch.long),
        conditions=[{"text": "piano", "energy": torch.ones(6)}, {"text": "drums"}],
        frame_mask=torch.ones(2, 6, dtype=torch.bool),
        clips=[clip, clip],
        first_beats=torch.zeros(2),
    )
    task = LMTask(model.requires_grad_(True), LMTaskConfig(), [batch])
    task.loss("lm", batch, StepContext(0, torch.Generator(), {}))[0].backward()
    assert task.parameters()["lm"]["energy.project.weight"].grad.any()
    assert {"ce", "ce_energy", "energy_gain"} <= task.validate().keys()


def test_its_parts_that_stay_in_float32_do(model):
    model.to_precision(torch.bfloat16)
    assert model.energy.project.weight.dtype == torch.bfloat16
    assert model.energy.scale.weight.dtype == torch.float32
    assert model.inputs(model.prepare([{"energy": torch.ones(3)}]), model.span(3)).sum.dtype == torch.bfloat16
