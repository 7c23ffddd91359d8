"""How a melody is extracted from audio, and how it is embedded."""

import pytest
import torch

from descant.audio import Clip
from descant.conditioning.base import Embedding, FrameSpan
from descant.conditioning.chroma import MelodyConfig, chromagram
from descant.conditioning.melody import MelodyConditioner, apply_bottleneck, extract_melody, null_melody
from descant.errors import ConfigError

RATE_HZ = 32_000
SMALL = MelodyConfig(sample_rate_hz=8_000, window_samples=512, hop_samples=128, num_frames=24)
BOTH = torch.ones(2, dtype=torch.bool)


def tone(pitch: int, duration_s: float = 1.0, rate_hz: int = RATE_HZ) -> torch.Tensor:
    """A sine of a pitch class around middle C, 0 for C."""
    times = torch.arange(round(duration_s * rate_hz)) / rate_hz
    return 0.5 * torch.sin(2 * torch.pi * 440 * 2 ** ((pitch - 9) / 12) * times)


def pitches(levels: torch.Tensor) -> torch.Tensor:
    assert (levels.sum(dim=1) == 255).all()
    return levels.argmax(dim=1)


def pitches_of(clip: Clip, config: MelodyConfig) -> torch.Tensor:
    """The pitch classes that a model with a prefix is conditioned on."""
    conditioner = MelodyConditioner(config, lm_width=4)
    levels = extract_melody(clip, config, config.num_frames / config.frame_rate_hz)
    (strengths,) = conditioner.prepare([{"melody": levels}])
    return pitches((255 * conditioner.fit(strengths, span(1.0))).long())


def span(duration_s: float, first_s: float = 0.0) -> FrameSpan:
    num_frames = round(50 * duration_s)
    return FrameSpan(
        num_frames=num_frames, frame_rate_hz=50.0, input_frames=torch.arange(num_frames).float(), first_s=first_s
    )


@pytest.mark.parametrize("pitch", range(12))
def test_a_tone_gives_its_pitch_class(pitch):
    clip = Clip(tone(pitch)[None], RATE_HZ)
    assert pitches_of(clip, MelodyConfig()).tolist() == [pitch] * 235


def test_a_scale_gives_its_pitch_classes_in_order():
    config = MelodyConfig(num_frames=40)
    wave = torch.cat([tone(pitch) for pitch in (0, 4, 7, 9, 2)])
    found = pitches_of(Clip(wave[None], RATE_HZ), config)
    # One tone lasts 7.8 frames; at its middle nothing else sounds in the window.
    assert [int(found[round((i + 0.5) * 7.8125)]) for i in range(5)] == [0, 4, 7, 9, 2]


def test_a_short_melody_is_repeated_and_a_long_one_is_cut():
    wave = torch.cat([tone(pitch, 0.2, 8_000) for pitch in (0, 7, 4, 11, 2)])
    whole = chromagram(wave, SMALL).argmax(dim=1)
    short = pitches_of(Clip(wave[None, :900], 8_000), SMALL)
    assert len(whole) > SMALL.num_frames == len(short)
    assert torch.equal(pitches_of(Clip(wave[None], 8_000), SMALL), whole[: SMALL.num_frames])
    assert torch.equal(short[:8], short[8:16])
    assert torch.equal(short[:8], short[16:])


def test_silence_is_the_null_melody():
    assert torch.equal(pitches_of(Clip(torch.zeros(2, RATE_HZ), RATE_HZ), SMALL), pitches(null_melody(SMALL)))


def test_a_melody_of_another_rate_and_of_two_channels_is_the_same_melody():
    wave = torch.cat([tone(pitch, 1.0, 44_100) for pitch in (0, 4, 7)])
    stereo = Clip(torch.stack([wave, wave]), 44_100)
    mono = Clip(torch.cat([tone(pitch) for pitch in (0, 4, 7)])[None], RATE_HZ)
    ours, theirs = (pitches_of(clip, MelodyConfig()) for clip in (stereo, mono))
    assert (ours == theirs).float().mean() > 0.97


def test_each_bottleneck_keeps_the_classes_of_its_name():
    chroma = torch.rand(7, 12, generator=torch.Generator().manual_seed(1))
    order = chroma.argsort(dim=1, descending=True)
    assert torch.equal(apply_bottleneck(chroma, MelodyConfig()).nonzero()[:, 1], order[:, 0])
    strongest = apply_bottleneck(chroma, MelodyConfig(bottleneck="strongest", strongest=3))
    assert torch.equal(strongest > 0, torch.zeros(7, 12).scatter(1, order[:, :3], 1.0) > 0)
    assert torch.equal(strongest[strongest > 0], chroma[strongest > 0])
    assert torch.equal(apply_bottleneck(chroma, MelodyConfig(bottleneck="full")), chroma)


def test_pooled_frames_are_means():
    chroma = torch.rand(7, 12)
    config = MelodyConfig(bottleneck="full", pooled_frames=3)
    means = [chroma[:3].mean(dim=0), chroma[3:6].mean(dim=0), chroma[6]]
    torch.testing.assert_close(apply_bottleneck(chroma, config), torch.stack(means))
    assert config.frame_rate_hz == pytest.approx(7.8125 / 3)


def test_silence_is_all_zeros_where_nothing_is_the_null_melody():
    config = MelodyConfig(bottleneck="strongest", null="nothing")
    silence = Clip(torch.zeros(1, RATE_HZ), RATE_HZ)
    assert not extract_melody(silence, config, 1.0).any()
    assert not null_melody(config).any()


def test_one_hot_frames_are_mapped_linearly_and_none_is_masked():
    torch.manual_seed(0)
    conditioner = MelodyConditioner(SMALL, lm_width=6)
    pitch = torch.randint(0, 12, (2, SMALL.num_frames))
    embedding = conditioner.embed(torch.nn.functional.one_hot(pitch, 12).float(), BOTH)
    weight, bias = conditioner.project.weight, conditioner.project.bias
    torch.testing.assert_close(embedding.values[1, 3], weight[:, pitch[1, 3]] + bias)
    assert embedding.mask.all()
    assert set(conditioner.state_dict()) == {"project.weight", "project.bias"}


def test_a_row_without_a_melody_is_zero():
    conditioner = MelodyConditioner(SMALL, lm_width=6)
    embedding = conditioner.embed(torch.rand(2, 24, 12), torch.tensor([False, True]))
    assert not embedding.values[0].any()
    assert not embedding.mask[0].any()
    assert embedding.values[1].any()


def test_neighbours_are_embedded_with_a_frame_and_zeros_beyond_the_ends():
    conditioner = MelodyConditioner(MelodyConfig(neighbours=1, num_frames=4), lm_width=6)
    chroma = torch.rand(2, 4, 12)
    values = conditioner.embed(chroma, BOTH).values
    for frame, near in ((0, (None, 0, 1)), (2, (1, 2, 3)), (3, (2, 3, None))):
        around = torch.cat([torch.zeros(12) if index is None else chroma[1, index] for index in near])
        torch.testing.assert_close(values[1, frame], conditioner.project(around))


def test_in_cross_attention_equal_frames_at_different_times_differ():
    conditioner = MelodyConditioner(MelodyConfig(fusion="cross", num_frames=4), lm_width=6)
    values = conditioner.embed(torch.ones(2, 4, 12), BOTH).values
    assert not torch.allclose(values[0, 0], values[0, 1], atol=1e-3)


@pytest.mark.parametrize("pooled", [1, 3])
def test_each_step_gets_the_frame_that_is_nearest(pooled):
    config = MelodyConfig(fusion="sum", pooled_frames=pooled)
    conditioner = MelodyConditioner(config, lm_width=1)
    numbered = Embedding(torch.arange(20.0)[None, :, None], torch.ones(1, 20, dtype=torch.bool))
    at_steps = conditioner.at_steps(numbered, span(40 / 50))
    middles = (torch.arange(20) * pooled + (pooled - 1) / 2) * config.hop_samples / config.sample_rate_hz
    nearest = ((torch.arange(40)[:, None] + 0.5) / 50 - middles).abs().argmin(dim=1)
    assert torch.equal(at_steps.values[0, :, 0].long(), nearest)


def test_a_melody_that_is_added_repeats_and_can_start_later():
    conditioner = MelodyConditioner(MelodyConfig(fusion="sum"), lm_width=4)
    melody = torch.rand(5, 12)
    assert torch.equal(conditioner.fit(melody, span(1.0)), melody[torch.arange(10) % 5])
    later = conditioner.fit(melody, span(1.0, first_s=0.4))
    assert torch.equal(later, conditioner.fit(melody, span(2.0))[3:13])


@pytest.mark.parametrize("null", ["pitch_c", "nothing"])
@pytest.mark.parametrize("fusion", ["prefix", "cross", "sum"])
def test_a_dropped_melody_and_a_missing_one_are_the_null_melody(fusion, null):
    """A dropped one was once all zeros, which a model of null="pitch_c" is never given in generation."""
    config = MelodyConfig(fusion=fusion, null=null, num_frames=9)
    conditioner = MelodyConditioner(config, lm_width=4)
    torch.nn.init.normal_(conditioner.project.weight)
    levels = torch.randint(0, 256, (9, 12))
    prepared = conditioner.prepare([{"melody": levels}, {}, {"melody": null_melody(config)}])
    missing = conditioner(prepared, span(1.0))[fusion]
    assert missing.mask[:, 0].tolist() == [True, null == "pitch_c", True]
    if null == "pitch_c":
        assert torch.equal(missing.values[1], missing.values[2])
    dropped = conditioner(prepared, span(1.0), torch.tensor([False, True, True]))[fusion]
    assert torch.equal(dropped.values[0], missing.values[0])
    for row in (1, 2):
        assert torch.equal(dropped.values[row], missing.values[1])
        assert torch.equal(dropped.mask[row], missing.mask[1])
    assert dropped.values[1].any() == (null == "pitch_c")


def test_levels_and_strengths_are_the_same_melody():
    conditioner = MelodyConditioner(MelodyConfig(num_frames=9), lm_width=4)
    levels = torch.randint(0, 256, (9, 12))
    from_levels, from_strengths = conditioner.prepare([{"melody": levels}, {"melody": levels / 255}])
    assert torch.equal(from_levels, from_strengths)


def test_a_melody_for_cross_attention_needs_a_model_that_has_it(make_model):
    with pytest.raises(ConfigError, match="has_cross_attention"):
        make_model(melody=MelodyConfig(fusion="cross"), lm_changes={"has_cross_attention": False})


@pytest.mark.parametrize("second", [1.92, 3.84, 5.76, 7.04, 9.6])
def test_the_start_of_a_frame_belongs_to_it_despite_rounding(second):
    conditioner = MelodyConditioner(MelodyConfig(fusion="sum"), lm_width=4)
    frame = conditioner.frame_at(second)
    assert frame == round(second * 7.8125)
    assert second - frame / 7.8125 == pytest.approx(0, abs=1e-9)
