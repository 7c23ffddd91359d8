"""Models of a preset's shape, without training."""

import pytest
import torch

from descant.checkpoints.untrained import size_of
from descant.codec.any import build_codec
from descant.lm.model import MusicLM
from descant.presets import PRESETS


def test_the_size_is_that_of_the_model_when_it_is_built():
    config = PRESETS["tiny"]()
    size = size_of(config)
    assert size.lm == sum(parameter.numel() for parameter in MusicLM(config.lm).parameters())
    assert size.codec == sum(parameter.numel() for parameter in build_codec(config.codec).parameters())


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("small", 420.37),
        ("medium", 1_838.74),
        ("large", 3_256.96),
        ("melody", 1_385.63),
        ("melody-large", 2_451.48),
        ("stereo-small", 437.15),
        ("stereo-medium", 1_863.91),
        ("stereo-large", 3_290.52),
        ("stereo-melody", 1_410.80),
        ("stereo-melody-large", 2_485.04),
    ],
)
def test_the_presets_have_the_size_of_the_released_models(name, millions):
    """Language model and conditioners, as the released checkpoints count them."""
    size = size_of(PRESETS[name]())
    assert (size.lm + size.conditioners) / 1e6 == pytest.approx(millions, abs=0.005)


def test_the_style_preset_is_the_melody_model_with_another_conditioner():
    style, melody = size_of(PRESETS["style"]()), size_of(PRESETS["melody"]())
    assert style.lm == melody.lm
    # From 768 features to 512, eight layers of 12 * 512 ** 2 and two norms, and from 512 to the model's 1,536.
    added = 769 * 512 + 8 * (12 * 512**2 + 4 * 512) + 513 * 1_536
    assert style.conditioners == melody.conditioners - 13 * 1_536 + added


def test_measuring_a_large_model_takes_no_memory_and_leaves_the_random_state_alone():
    before = torch.random.get_rng_state()
    size_of(PRESETS["large"]())
    assert torch.equal(torch.random.get_rng_state(), before)
