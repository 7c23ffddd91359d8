"""A stereo model that begins as a mono one."""

from dataclasses import replace

import pytest
import torch

from descant.errors import ConfigError
from descant.lm.loss import pattern_cross_entropy
from descant.lm.model import LMConfig, MusicLM
from descant.lm.stereo import start_stereo_from_mono
from descant.nn.transformer import TransformerConfig
from descant.patterns import delay, interleave, stereo_partial_delay

MONO = LMConfig(codebook_size=16, transformer=TransformerConfig(width=24, num_heads=2, num_layers=2))
STEREO = replace(MONO, num_codebooks=8)


def loss_of(lm, codes, pattern):
    length = pattern.training_length(codes.shape[-1])
    sequence = interleave(codes, pattern.steps(codes.shape[-1]), length, empty=lm.special_code)
    return pattern_cross_entropy(lm(sequence), codes, pattern)


def test_a_stereo_model_started_from_mono_has_the_monos_loss():
    """With both sides alike, which is mono music; embeddings that are not halved would add up to twice as much."""
    torch.manual_seed(0)
    mono, stereo = MusicLM(MONO).eval(), MusicLM(STEREO).eval()
    start_stereo_from_mono(stereo, mono)
    codes = torch.randint(0, 16, (3, 4, 11))
    both = codes.repeat_interleave(2, dim=1)
    expected, by_codebook = loss_of(mono, codes, delay(4))
    found, by_side = loss_of(stereo, both, stereo_partial_delay(8))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(by_side, by_codebook.repeat_interleave(2), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (MONO, "from a mono one of 2, this one has 4"),
        (replace(STEREO, codebook_size=17), "size of codebooks"),
        (replace(STEREO, transformer=replace(MONO.transformer, num_layers=3)), "the same transformer"),
    ],
)
def test_a_stereo_model_of_another_shape_is_refused(shape, message):
    with pytest.raises(ConfigError, match=message):
        start_stereo_from_mono(MusicLM(shape), MusicLM(MONO))
