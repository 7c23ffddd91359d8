"""Models of a preset's shape, without training."""

import pytest
import torch

from descant.checkpoints.untrained import size_of
from descant.lm.model import MusicLM
from descant.model import build_codec
from descant.presets import PRESETS


def test_the_size_is_that_of_the_model_when_it_is_built():
    config = PRESETS["tiny"]()
    size = size_of(config)
    assert size.lm == sum(parameter.numel() for parameter in MusicLM(config.lm).parameters())
    assert size.codec == sum(parameter.numel() for parameter in build_codec(config.codec).parameters())


@pytest.mark.parametrize(("name", "millions"), [("small", 420), ("medium", 1_840), ("large", 3_250)])
def test_the_presets_have_the_size_of_the_released_models(name, millions):
    assert size_of(PRESETS[name]()).lm == pytest.approx(millions * 1e6, rel=0.02)


def test_measuring_a_large_model_takes_no_memory_and_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    size_of(PRESETS["large"]())
    assert torch.equal(torch.random.get_rng_state(), before)
