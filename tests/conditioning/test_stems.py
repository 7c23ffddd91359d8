"""Source separation for melodies: harmonic sound without percussion, Demucs's stems without drums and bass."""

import importlib.machinery
import logging
import sys
import types

import pytest
import torch

from descant.audio import Clip
from descant.conditioning.chroma import MelodyConfig, chromagram
from descant.conditioning.stems import melodic_part
from descant.errors import CheckpointError, InvalidRequest, MissingExtra

RATE_HZ = 32_000
TUNE = (72, 76, 79, 77, 74, 71, 72, 67)


def tune(note_s=0.5):
    time = torch.arange(int(note_s * RATE_HZ)) / RATE_HZ
    fade = (20 * time).clamp(max=1) * (20 * (note_s - time)).clamp(max=1)
    notes = [440 * 2 ** ((key - 69) / 12) for key in TUNE]
    return (
        torch.cat([sum(torch.sin(2 * torch.pi * hz * k * time) / k for k in (1, 2, 3)) * fade for hz in notes]) * 0.02
    )


def drums(duration_s):
    """A kick, a snare and hats in eighths at 150 bpm."""
    generator = torch.Generator().manual_seed(0)
    hit_s, wave = 0.2, torch.zeros(int(duration_s * RATE_HZ))
    time = torch.arange(int(hit_s * RATE_HZ)) / RATE_HZ
    kick = 0.8 * torch.sin(2 * torch.pi * (50 * time + 6 * (1 - torch.exp(-30 * time)))) * torch.exp(-15 * time)
    hits = [kick, *(level * torch.randn(len(time), generator=generator) * torch.exp(-fall * time)
                    for level, fall in ((0.1, 60), (0.4, 20), (0.1, 60)))]  # fmt: skip
    for number in range(int(duration_s / hit_s)):
        wave[number * len(time) : (number + 1) * len(time)] = hits[number % 4]
    return wave


def clip_of(wave, rate_hz=RATE_HZ):
    return Clip(samples=wave[None].float() if wave.ndim == 1 else wave, sample_rate_hz=rate_hz)


def loudest_classes(clip):
    return chromagram(clip.to_channels(1).resample(RATE_HZ).samples[0], MelodyConfig()).argmax(dim=1)


def noise(*shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) - 0.5


def agreement(clip, other):
    return (loudest_classes(clip) == loudest_classes(other)).float().mean().item()


class FakeHTDemucs:
    """Four stems that are different shares of the mix, so that their sum shows which ones were kept."""

    samplerate, audio_channels = 44_100, 2
    sources = ("drums", "bass", "other", "vocals")
    shares = torch.tensor([0.5, 0.25, 0.15, 0.1])


@pytest.fixture
def demucs(monkeypatch):
    """Demucs's two doors as its version 4 has them; what was asked of it is in ``asked``."""
    asked = []

    def apply_model(model, mix, **options):
        asked.append(options | {"shape": tuple(mix.shape)})
        return model.shares[None, :, None, None] * mix[:, None]

    package, apply, pretrained = (types.ModuleType(name) for name in ("demucs", "demucs.apply", "demucs.pretrained"))
    package.__spec__ = importlib.machinery.ModuleSpec("demucs", None, is_package=True)
    apply.apply_model, pretrained.get_model = apply_model, {"htdemucs": FakeHTDemucs()}.__getitem__
    package.asked, package.apply, package.pretrained = asked, apply, pretrained
    for module in (package, apply, pretrained):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return package


@pytest.fixture
def without(monkeypatch):
    """Makes packages as good as not installed."""

    def forget(*names):
        for name in names:
            for module in [loaded for loaded in sys.modules if loaded.partition(".")[0] == name]:
                monkeypatch.setitem(sys.modules, module, None)
            monkeypatch.setitem(sys.modules, name, None)

    return forget


def test_separation_takes_out_drums_and_keeps_the_tune():
    pytest.importorskip("librosa", reason="librosa")
    alone = tune()
    mix = clip_of(alone + drums(len(alone) / RATE_HZ))
    part, method = melodic_part(mix, "harmonic")
    assert method == "harmonic"
    assert part.duration_s == pytest.approx(mix.duration_s)
    assert agreement(part, clip_of(alone)) > 0.9 > agreement(mix, clip_of(alone)) + 0.2


@pytest.mark.parametrize("separation", ["harmonic", "mix"])
@pytest.mark.parametrize(
    "samples",
    [torch.zeros(1, 8_000), noise(1, 400), noise(1, 200), noise(1, 1), noise(6, 8_000)],
    ids=["silence", "50 ms", "25 ms", "one sample", "six channels"],
)
def test_whatever_the_clip_its_part_is_mono_and_as_long(separation, samples):
    """Of 50 ms nothing but NaN was left once: a median filter read past a short spectrum."""
    pytest.importorskip("librosa", reason="librosa")
    clip = clip_of(samples, rate_hz=8_000)
    part, _ = melodic_part(clip, separation)
    assert len(part.samples) == 1
    assert part.duration_s == pytest.approx(clip.duration_s, abs=1 / 8_000)
    assert part.samples.abs().max() <= clip.samples.abs().max() * 1.5


def test_of_a_steady_tone_all_is_harmonic_and_of_a_click_next_to_nothing():
    pytest.importorskip("librosa", reason="librosa")
    tone = torch.sin(2 * torch.pi * 440 * torch.arange(RATE_HZ) / RATE_HZ)
    click = torch.zeros(RATE_HZ)
    click[RATE_HZ // 2] = 1.0
    shares = [
        melodic_part(clip_of(wave), "harmonic")[0].samples.square().mean() / clip_of(wave).samples.square().mean()
        for wave in (tone, click)
    ]
    assert shares[0] > 0.95
    assert shares[1] < 0.05


def test_vocals_and_others_are_kept_and_nothing_is_left_to_chance(demucs):
    wave = noise(6, 4_000)
    part, method = melodic_part(clip_of(wave, 8_000), "stems")
    assert method == "stems"
    assert part.sample_rate_hz == 44_100
    expected = 0.25 * clip_of(wave, 8_000).resample(44_100).to_channels(1).samples
    torch.testing.assert_close(part.samples, expected)
    assert demucs.asked == [{"shape": (1, 2, 22_050), "shifts": 0, "split": True, "overlap": 0.25, "device": "cpu"}]


def test_weights_that_cannot_be_fetched_are_a_checkpoint_error(demucs):
    def offline(name):
        raise OSError(f"no route to {name}")

    demucs.pretrained.get_model = offline
    with pytest.raises(CheckpointError, match="no route to htdemucs"):
        melodic_part(clip_of(tune()), "stems")


def test_auto_takes_the_best_that_is_installed_and_says_so(demucs, without, caplog):
    clip = clip_of(tune(0.1))
    caplog.set_level(logging.INFO, logger="descant")
    assert melodic_part(clip)[1] == "stems"
    without("demucs")
    pytest.importorskip("librosa", reason="librosa")
    assert melodic_part(clip)[1] == "harmonic"
    without("librosa")
    part, method = melodic_part(clip)
    assert method == "mix"
    assert torch.equal(part.samples, clip.samples)
    assert [record.args for record in caplog.records] == [("stems",), ("harmonic",), ("mix",)]
    assert demucs.asked


def test_what_is_asked_for_by_name_and_missing_is_named_with_the_line_that_installs_it(without):
    without("demucs", "librosa")
    for separation, extra in (("stems", "melody"), ("harmonic", "eval")):
        with pytest.raises(MissingExtra, match=rf'pip install "descant\[{extra}\]"'):
            melodic_part(clip_of(tune(0.1)), separation)


@pytest.mark.usefixtures("unchecked")
def test_an_unknown_separation_is_refused():
    with pytest.raises(InvalidRequest, match="auto, stems, harmonic, mix"):
        melodic_part(clip_of(tune(0.1)), "vocals")
