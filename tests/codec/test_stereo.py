import pytest
import torch

from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.codec.stereo import StereoCodec
from descant.errors import ConfigError, InvalidRequest

CONFIG = EnCodecConfig(
    sample_rate_hz=600, filters=2, strides=(3, 2), latent_dim=4, lstm_layers=1, num_codebooks=3, codebook_size=8
)


@pytest.fixture
def stereo():
    torch.manual_seed(0)
    mono = EnCodec(CONFIG).eval()
    for level in mono.quantizer.levels:
        level.codebook.normal_()
        level.is_initialized.fill_(1)
    return StereoCodec(mono)


def test_stereo_is_two_monos(stereo):
    wave = torch.randn(2, 2, 50)
    codes = stereo.encode(wave)
    left, right = (stereo.mono.encode(side) for side in wave.split(1, dim=1))
    assert torch.equal(codes[:, 0::2], left)
    assert torch.equal(codes[:, 1::2], right)
    decoded = torch.cat([stereo.mono.decode(left), stereo.mono.decode(right)], dim=1)
    torch.testing.assert_close(stereo.decode(codes), decoded)


def test_swapped_sides_swap_the_codebooks_of_each_pair(stereo):
    wave = torch.randn(2, 2, 50)
    swapped = [1, 0, 3, 2, 5, 4]
    assert torch.equal(stereo.encode(wave.flip(1)), stereo.encode(wave)[:, swapped])
    codes = stereo.encode(wave)
    torch.testing.assert_close(stereo.decode(codes[:, swapped]), stereo.decode(codes).flip(1))


def test_a_training_pass_is_encode_then_decode(stereo):
    wave = torch.randn(2, 2, 50)
    output = stereo(wave)
    assert torch.equal(output.codes, stereo.encode(wave))
    torch.testing.assert_close(output.wave, stereo.decode(output.codes)[..., :50])


def test_it_has_the_spec_of_its_mono_codec_but_for_the_sides(stereo):
    assert (stereo.num_channels, stereo.num_codebooks, stereo.codebook_size) == (2, 6, 8)
    assert (stereo.sample_rate_hz, stereo.hop_samples, stereo.frame_rate_hz) == (600, 6, 100)


def test_freezing_freezes_the_mono_encoder(stereo):
    stereo.freeze_encoder()
    learning = {name for name, parameter in stereo.named_parameters() if parameter.requires_grad}
    assert learning
    assert all(name.startswith("mono.decoder.") for name in learning)


def test_only_mono_codecs_are_wrapped_and_only_stereo_waves_coded(stereo):
    with pytest.raises(ConfigError, match="got one with 2 channels"):
        StereoCodec(stereo)
    with pytest.raises(InvalidRequest, match="1 channels: a stereo codec takes 2"):
        stereo.encode(torch.zeros(1, 1, 60))
