from dataclasses import replace

import pytest
import torch

from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.config import from_dict, to_dict
from descant.errors import ConfigError, InvalidRequest

TINY = EnCodecConfig(
    sample_rate_hz=600, filters=2, strides=(3, 2), latent_dim=4, lstm_layers=1, num_codebooks=3, codebook_size=8
)


def tiny(config: EnCodecConfig = TINY) -> EnCodec:
    """A codec with random codebooks, as if it had been trained."""
    torch.manual_seed(0)
    codec = EnCodec(config).eval()
    for level in codec.quantizer.levels:
        level.codebook.normal_()
        level.is_initialized.fill_(1)
    return codec


def test_the_defaults_are_the_released_32_khz_codec():
    config = EnCodecConfig()
    assert (config.sample_rate_hz, config.hop_samples, config.strides) == (32_000, 640, (8, 5, 4, 4))
    assert (config.filters, config.latent_dim, config.lstm_layers) == (64, 128, 2)
    assert (config.kernel_size, config.last_kernel_size, config.residual_kernel_size) == (7, 7, 3)
    assert (config.num_codebooks, config.codebook_size, config.padding_mode) == (4, 2_048, "reflect")
    assert not config.is_causal
    assert not config.has_conv_shortcut
    with torch.device("meta"):
        codec = EnCodec(config)
    assert sum(parameter.numel() for parameter in codec.parameters()) == 56_884_674
    assert codec.frame_rate_hz == 50


@pytest.mark.parametrize("num_samples", [1, 5, 6, 7, 100])
def test_a_code_a_frame_and_a_hop_a_code(num_samples):
    codec = tiny()
    codes = codec.encode(torch.randn(2, 1, num_samples))
    assert codes.shape == (2, 3, codec.num_frames(num_samples))
    assert codec.decode(codes).shape == (2, 1, 6 * codes.shape[-1])


def test_a_training_pass_is_encode_then_decode():
    codec = tiny()
    wave = torch.randn(2, 1, 50)
    output = codec(wave)
    codes = codec.encode(wave)
    assert torch.equal(output.codes, codes)
    torch.testing.assert_close(output.wave, codec.decode(codes)[..., :50])


def test_rows_of_a_batch_do_not_affect_each_other():
    codec = tiny()
    wave = torch.randn(3, 1, 60)
    assert torch.equal(codec.encode(wave), torch.cat([codec.encode(row) for row in wave.split(1)]))


def test_gradients_pass_the_quantizer():
    codec = tiny().train()
    output = codec(torch.randn(2, 1, 60))
    (output.wave.square().sum() + output.quantizer_loss).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in codec.parameters())


def test_frozen_codes_never_change_while_the_decoder_learns():
    codec = tiny().train()
    codec.freeze_encoder()
    wave = torch.randn(2, 1, 60)
    codes, audio = codec.encode(wave), codec.decode(codec.encode(wave))
    optimizer = torch.optim.SGD([p for p in codec.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        codec(wave).wave.square().mean().backward()
        optimizer.step()
    assert torch.equal(codec.encode(wave), codes)
    assert not torch.allclose(codec.decode(codes), audio)


def test_a_larger_decoder_leaves_the_encoder_alone():
    large = EnCodec(replace(TINY, decoder_filters=8))
    assert large.config.decoder.filters == 8
    shapes = {name: value.shape for name, value in EnCodec(TINY).encoder.state_dict().items()}
    assert {name: value.shape for name, value in large.encoder.state_dict().items()} == shapes


def test_a_config_survives_json_and_reaches_the_quantizer():
    config = replace(TINY, codebook_dim=2, codebook_decay=0.9, dead_code_relative=True)
    assert from_dict(EnCodecConfig, to_dict(config)) == config
    quantizer = config.quantizer
    assert (quantizer.dim, quantizer.codebook_dim, quantizer.decay, quantizer.dead_code_relative) == (4, 2, 0.9, True)


@pytest.mark.parametrize("shape", [(1, 2, 60), (1, 1, 0)])
def test_a_wave_of_no_samples_or_other_channels_is_refused(shape):
    with pytest.raises(InvalidRequest, match="this codec takes 1 channels and at least one sample"):
        tiny().encode(torch.zeros(shape))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate_hz": 601}, "which does not divide sample_rate_hz=601"),
        ({"num_codebooks": 0}, "num_codebooks=0"),
        ({"codebook_decay": 1.5}, "decay=1.5"),
        ({"decoder_filters": 3}, "filters=3"),
        ({"lstm_layers": -1}, "lstm_layers=-1"),
    ],
)
def test_a_config_that_cannot_be_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **change)
