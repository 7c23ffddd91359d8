import math
from dataclasses import replace

import pytest
import torch

from descant.codec.discriminators import DiscriminatorOutput
from descant.codec.losses import (
    MelLossConfig,
    MultiScaleMelLoss,
    MultiScaleSpectralLoss,
    SpectralLossConfig,
    discriminator_loss,
    feature_matching_loss,
    generator_loss,
)
from descant.codec.mel import mel_filters
from descant.errors import ConfigError, InvalidRequest

SMALL = MelLossConfig(sample_rate_hz=8_000, windows=(32, 128), num_mels=(5, 20))
SPECTRAL_LOSSES = [
    MultiScaleMelLoss(SMALL),
    MultiScaleSpectralLoss(SpectralLossConfig(sample_rate_hz=8_000, windows=(64, 256), num_mels=16)),
]


def noise(seed: int, *shape: int) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("loss", SPECTRAL_LOSSES, ids=lambda loss: type(loss).__name__)
def test_equal_waves_cost_nothing_and_others_something(loss):
    wave = noise(0, 2, 2, 800)
    assert loss(wave, wave).item() == 0
    assert loss(wave + noise(1, 2, 2, 800), wave).item() > 0


@pytest.mark.parametrize("loss", SPECTRAL_LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_step_against_the_gradient_comes_nearer(loss):
    target, guess = noise(0, 1, 1, 800), noise(1, 1, 1, 800).requires_grad_()
    loss(guess, target).backward()
    assert loss(guess - 1e-3 * guess.grad / guess.grad.norm(), target) < loss(guess, target)


@pytest.mark.parametrize("loss", SPECTRAL_LOSSES, ids=lambda loss: type(loss).__name__)
def test_silence_has_a_finite_gradient(loss):
    guess = torch.zeros(1, 1, 800, requires_grad=True)
    loss(guess, noise(0, 1, 1, 800)).backward()
    assert guess.grad.isfinite().all()


@pytest.mark.parametrize("loss", SPECTRAL_LOSSES, ids=lambda loss: type(loss).__name__)
def test_no_gradient_goes_into_the_target_and_nothing_into_checkpoints(loss):
    target, guess = noise(0, 1, 1, 800).requires_grad_(), noise(1, 1, 1, 800).requires_grad_()
    loss(guess, target).backward()
    assert target.grad is None
    assert not loss.state_dict()


@pytest.mark.parametrize("loss", SPECTRAL_LOSSES, ids=lambda loss: type(loss).__name__)
def test_autocast_does_not_blur_the_spectra(loss):
    target, guess = noise(0, 1, 1, 800), noise(1, 1, 1, 800)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        blurred = loss(guess, target)
    torch.testing.assert_close(blurred, loss(guess, target), rtol=1e-6, atol=0)


def naive_log_mels(wave: list[float], window: int, num_mels: int, sample_rate_hz: int) -> list[float]:
    """The definition, spelled out: reflect, cut, Hann, DFT, triangles in Slaney's mels, logarithm."""

    def to_hz(mel: float) -> float:
        return mel * 200 / 3 if mel < 15 else 1_000 * 6.4 ** ((mel - 15) / 27)

    top = 15 + 27 * math.log(sample_rate_hz / 2 / 1_000) / math.log(6.4)
    corners = [to_hz(top * index / (num_mels + 1)) for index in range(num_mels + 2)]
    half = window // 2
    reflected = wave[half:0:-1] + wave + wave[-2 : -half - 2 : -1]
    levels = []
    for start in range(0, len(wave) + 1, window // 4):
        frame = [
            value * 0.5 * (1 - math.cos(2 * math.pi * n / window))
            for n, value in enumerate(reflected[start : start + window])
        ]
        magnitudes = [
            abs(
                sum(
                    value * complex(math.cos(a := 2 * math.pi * k * n / window), -math.sin(a))
                    for n, value in enumerate(frame)
                )
            )
            for k in range(half + 1)
        ]
        for left, centre, right in zip(corners, corners[1:], corners[2:], strict=False):
            total = 0.0
            for k, magnitude in enumerate(magnitudes):
                hz = k * sample_rate_hz / window
                height = max(0.0, min((hz - left) / (centre - left), (right - hz) / (right - centre)))
                total += height * 2 / (right - left) * magnitude
            levels.append(math.log10(max(total, 1e-5)))
    return levels


def test_the_mel_loss_is_its_definition_spelled_out():
    config = replace(SMALL, windows=(32, 64), num_mels=(5, 10))
    ours, theirs = noise(0, 1, 1, 160), noise(1, 1, 1, 160)
    expected = 0.0
    for window, num_mels in zip(config.windows, config.num_mels, strict=True):
        one, other = (
            naive_log_mels(wave.flatten().tolist(), window, num_mels, config.sample_rate_hz) for wave in (ours, theirs)
        )
        expected += sum(abs(mine - yours) for mine, yours in zip(one, other, strict=True)) / len(one)
    assert MultiScaleMelLoss(config)(ours, theirs).item() == pytest.approx(expected, rel=1e-4)


def test_the_mel_loss_of_a_gain_is_its_logarithm_in_every_window():
    wave = noise(0, 1, 1, 4_000)
    assert MultiScaleMelLoss(SMALL)(wave, 10 * wave).item() == pytest.approx(len(SMALL.windows), rel=1e-4)


def test_the_spectral_loss_compares_powers():
    """Magnitudes give the logarithm's term a fourth of its size and the other one another exponent."""
    config = SpectralLossConfig(sample_rate_hz=8_000, windows=(256,), num_mels=16)
    wave = 100 * noise(0, 1, 1, 4_096)
    window = torch.hann_window(256)
    padded = torch.nn.functional.pad(wave[0], (96, 96), mode="reflect")
    spectrum = torch.stft(padded, 256, 64, window=window, center=False, return_complex=True)
    filters = mel_filters(
        sample_rate_hz=8_000, window=256, num_mels=16, f_min_hz=64.0, scale="htk", has_unit_area=False
    )
    mean_power = (filters.T @ (spectrum.abs().square() / window.square().sum())).mean()
    expected = (99 * mean_power + 2**2) / 2
    assert MultiScaleSpectralLoss(config)(10 * wave, wave).item() == pytest.approx(expected.item(), rel=1e-3)


def test_the_default_windows_are_seven():
    config = MelLossConfig()
    assert config.windows == (32, 64, 128, 256, 512, 1_024, 2_048)
    assert config.num_mels == (5, 10, 20, 40, 80, 160, 320)


def test_a_wave_shorter_than_half_a_window_is_refused():
    with pytest.raises(InvalidRequest, match="64 samples is too short for a window of 128"):
        MultiScaleMelLoss(SMALL)(torch.zeros(1, 1, 64), torch.zeros(1, 1, 64))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"windows": (32, 30)}, "multiple of 4"),
        ({"windows": (32,)}, "1 windows but 2 num_mels"),
        ({"num_mels": (5, 0)}, "at least one mel band"),
        ({"f_max_hz": 5_000.0}, "end by 4000 Hz"),
        ({"floor": 0.0}, "above zero"),
    ],
)
def test_a_loss_that_cannot_be_is_refused(change, message):
    with pytest.raises(ConfigError, match=message):
        replace(SMALL, **change)


def outputs(*logits: float) -> list[DiscriminatorOutput]:
    return [
        DiscriminatorOutput(torch.full((2, 1, 3), value), [torch.full((2, 4, 3), value), torch.full((2, 1), 2 * value)])
        for value in logits
    ]


def test_the_hinge_is_met_where_real_is_above_one_and_fake_below_minus_one():
    assert discriminator_loss(outputs(1.0, 3.0), outputs(-1.0, -2.0)).item() == 0
    assert discriminator_loss(outputs(0.0, 0.0), outputs(0.0, 0.0)).item() == 2
    assert discriminator_loss(outputs(0.5), outputs(-1.0)).item() == 0.5


def test_the_generator_wants_high_logits():
    assert generator_loss(outputs(3.0, 1.0)).item() == -2


def test_feature_matching_is_the_mean_distance_over_layers_and_leaves_real_alone():
    assert feature_matching_loss(outputs(1.0, 2.0), outputs(1.0, 2.0)).item() == 0
    assert feature_matching_loss(outputs(0.0, 0.0), outputs(1.0, 3.0)).item() == pytest.approx((1.5 + 4.5) / 2)
    real, fake = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    feature_matching_loss([DiscriminatorOutput(real, [real])], [DiscriminatorOutput(fake, [fake])]).backward()
    assert real.grad is None
    assert fake.grad is not None
