from dataclasses import replace

import pytest
import torch

from descant.codec.seanet import SEANetConfig, SEANetDecoder, SEANetEncoder, Snake
from descant.errors import ConfigError

TINY = SEANetConfig(filters=2, strides=(3, 2), latent_dim=4, lstm_layers=1)
VARIANTS = {
    "released": TINY,
    "zeros": replace(TINY, padding_mode="constant"),
    "causal": replace(TINY, is_causal=True),
    "no lstm": replace(TINY, lstm_layers=0),
    "deep": replace(TINY, residual_layers=2, has_conv_shortcut=True),
    "snake": replace(TINY, activation="snake", num_channels=2),
}


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
@pytest.mark.parametrize("num_samples", [1, 5, 6, 31, 60])
def test_frames_cover_the_wave_and_become_whole_hops_again(config, num_samples):
    latents = SEANetEncoder(config)(torch.randn(2, config.num_channels, num_samples))
    num_frames = -(-num_samples // 6)
    assert latents.shape == (2, 4, num_frames)
    assert SEANetDecoder(config)(latents).shape == (2, config.num_channels, 6 * num_frames)


@pytest.mark.parametrize("config", VARIANTS.values(), ids=VARIANTS.keys())
def test_every_parameter_learns(config):
    halves = torch.nn.Sequential(SEANetEncoder(config), SEANetDecoder(config))
    halves(torch.randn(2, config.num_channels, 60)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in halves.parameters())


def test_causal_frames_do_not_depend_on_later_samples_nor_samples_on_later_frames():
    config = replace(TINY, is_causal=True, padding_mode="constant")
    encoder, decoder = SEANetEncoder(config), SEANetDecoder(config)
    wave = torch.randn(1, 1, 60)
    changed = torch.cat([wave[..., :36], wave[..., 36:] + 1], dim=-1)
    before, after = encoder(wave), encoder(changed)
    torch.testing.assert_close(after[..., :6], before[..., :6])
    assert not torch.allclose(after[..., 6:], before[..., 6:])
    torch.testing.assert_close(decoder(after)[..., :36], decoder(before)[..., :36])


def test_snake_starts_as_its_formula_and_has_a_gradient_at_frequency_zero():
    snake = Snake(3)
    values = torch.randn(2, 3, 5)
    torch.testing.assert_close(snake(values), values + values.sin() ** 2)
    with torch.no_grad():
        snake.frequency.zero_()
    torch.testing.assert_close(snake(values), values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filters": 0}, "filters=0"),
        ({"lstm_layers": -1}, "lstm_layers=-1"),
        ({"strides": ()}, "strides="),
        ({"filters": 3}, "cannot be divided by compress=2"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **change)
