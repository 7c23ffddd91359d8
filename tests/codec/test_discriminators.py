import pytest
import torch
from einops import rearrange

from descant.codec.discriminators import (
    DiscriminatorOutput,
    DiscriminatorPanel,
    MultiPeriodDiscriminator,
    MultiScaleDiscriminator,
    MultiScaleSTFTDiscriminator,
    PeriodDiscriminatorConfig,
    ScaleDiscriminatorConfig,
    STFTDiscriminatorConfig,
)
from descant.codec.losses import discriminator_loss, feature_matching_loss, generator_loss
from descant.errors import ConfigError, InvalidRequest

STFT = STFTDiscriminatorConfig(num_channels=2, filters=4, n_ffts=(128, 64))
PERIOD = PeriodDiscriminatorConfig(num_channels=2, periods=(2, 3), filters=2, max_filters=8, num_layers=3)
SCALE = ScaleDiscriminatorConfig(num_channels=2, filters=4, max_filters=16, strides=(4, 4))


def everyone() -> list[torch.nn.Module]:
    torch.manual_seed(0)
    stft, period = MultiScaleSTFTDiscriminator(STFT), MultiPeriodDiscriminator(PERIOD)
    return [stft, period, MultiScaleDiscriminator(SCALE), DiscriminatorPanel([stft, period])]


@pytest.mark.parametrize("discriminator", everyone(), ids=lambda discriminator: type(discriminator).__name__)
def test_every_parameter_learns(discriminator):
    # Only once the hinge of real audio is met: before, the two halves cancel in the last bias.
    real = [
        DiscriminatorOutput(output.logits.detach() + 2, output.features)
        for output in discriminator(torch.randn(2, 2, 601))
    ]
    discriminator_loss(real, discriminator(torch.randn(2, 2, 601))).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in discriminator.parameters())


def test_a_power_makes_quiet_partials_heard_and_keeps_phases():
    """60 dB less become 18 dB less at a power of 0.3, in what the first layer sees."""
    config = STFTDiscriminatorConfig(filters=2, n_ffts=(64,), magnitude_power=0.3)
    seen = []
    (part,) = MultiScaleSTFTDiscriminator(config).parts
    part.layers[0].register_forward_pre_hook(lambda _, maps: seen.append(maps[0]))
    wave = 30 * torch.randn(1, 1, 640, generator=torch.Generator().manual_seed(0))
    part(wave), part(wave / 1_000)
    loud, quiet = (torch.view_as_complex(rearrange(maps, "B part T F -> B T F part").contiguous()) for maps in seen)
    audible = loud.abs() > 1
    torch.testing.assert_close(
        (quiet / loud)[audible].real, torch.tensor(0.001**0.3).expand(int(audible.sum())), rtol=0.01, atol=0
    )
    torch.testing.assert_close((quiet / loud)[audible].imag, torch.zeros(int(audible.sum())), rtol=0, atol=1e-4)


def test_a_power_has_a_gradient_at_silence():
    config = STFTDiscriminatorConfig(filters=2, n_ffts=(64,), magnitude_power=0.3)
    wave = torch.zeros(1, 1, 640, requires_grad=True)
    generator_loss(MultiScaleSTFTDiscriminator(config)(wave)).backward()
    assert wave.grad.isfinite().all()


@pytest.mark.parametrize("discriminator", everyone(), ids=lambda discriminator: type(discriminator).__name__)
def test_the_audio_gets_a_gradient_from_every_output(discriminator):
    wave = torch.randn(1, 2, 601, requires_grad=True)
    fake, real = discriminator(wave), discriminator(torch.randn(1, 2, 601))
    for index in range(len(fake)):
        loss = generator_loss([fake[index]]) + feature_matching_loss([real[index]], [fake[index]])
        (gradient,) = torch.autograd.grad(loss, wave, retain_graph=True)
        assert gradient.any()


@pytest.mark.parametrize("discriminator", everyone(), ids=lambda discriminator: type(discriminator).__name__)
def test_both_channels_are_looked_at(discriminator):
    wave = torch.randn(1, 2, 601, requires_grad=True)
    generator_loss(discriminator(wave)).backward()
    assert wave.grad.abs().sum(dim=-1).all()


def test_the_second_scale_does_not_see_what_half_the_rate_cannot_hold():
    """The downsampled wave was once computed and thrown away: every scale saw the full rate (audiocraft, msd.py)."""
    discriminator = MultiScaleDiscriminator(SCALE)
    silence = torch.zeros(1, 2, 4_096)
    highest_tone = torch.tensor([1.0, -1.0]).repeat(2_048).expand(1, 2, 4_096)
    full, half, quarter = (
        (tone.logits - quiet.logits).abs()[..., 12:-12].max().item()  # away from the ends, where the tone is cut
        for tone, quiet in zip(discriminator(highest_tone), discriminator(silence), strict=True)
    )
    assert full > 1e-4
    assert half < 1e-6
    assert quarter < 1e-6


def test_each_scale_halves_the_number_of_patches():
    patches = [output.logits.shape[-1] for output in MultiScaleDiscriminator(SCALE)(torch.randn(1, 2, 512))]
    assert patches == [32, 16, 8]


def test_a_period_discriminator_never_mixes_phases():
    part = MultiPeriodDiscriminator(PERIOD).parts[1]
    wave = torch.randn(1, 2, 60)
    changed = wave.clone()
    changed[..., 1::3] += 1
    moved = (part(wave).logits != part(changed).logits).any(dim=2).flatten()
    assert moved.tolist() == [False, True, False]


def test_stages_halve_frequencies_and_keep_time():
    (output, _) = MultiScaleSTFTDiscriminator(STFT)(torch.randn(1, 2, 640))
    frames = (640 - 128) // 32 + 1
    assert [tuple(feature.shape[2:]) for feature in output.features] == [(frames, bins) for bins in (65, 33, 17, 9, 9)]
    assert output.logits.shape == (1, 1, frames, 9)


def test_the_default_stft_discriminator_is_encodecs():
    config = STFTDiscriminatorConfig()
    assert config.n_ffts == (1_024, 2_048, 512, 256, 128)
    assert (config.filters, config.kernel_size, config.dilations, config.leaky_slope) == (32, (3, 9), (1, 2, 4), 0.3)


def test_a_wave_that_fills_no_window_is_refused():
    with pytest.raises(InvalidRequest, match="does not fill one window of n_fft=128"):
        MultiScaleSTFTDiscriminator(STFT)(torch.zeros(1, 2, 100))


@pytest.mark.parametrize(
    "make",
    [
        lambda: STFTDiscriminatorConfig(n_ffts=(130,)),
        lambda: STFTDiscriminatorConfig(kernel_size=(3, 8)),
        lambda: STFTDiscriminatorConfig(filters=0),
        lambda: STFTDiscriminatorConfig(magnitude_power=0.0),
        lambda: PeriodDiscriminatorConfig(periods=()),
        lambda: PeriodDiscriminatorConfig(kernel_size=4),
        lambda: ScaleDiscriminatorConfig(num_scales=0),
        lambda: ScaleDiscriminatorConfig(filters=6),
        lambda: ScaleDiscriminatorConfig(leaky_slope=1.5),
    ],
)
def test_a_shape_that_cannot_be_is_refused(make):
    with pytest.raises(ConfigError):
        make()
