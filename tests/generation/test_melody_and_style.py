"""Melody and style models: these conditions change the music of their request, and of no other."""

from dataclasses import replace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from descant.audio import Clip
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.melody import null_melody
from descant.conditioning.style import StyleConfig, StyleFeatures
from descant.errors import InvalidRequest
from descant.generation.engine import Engine
from descant.generation.request import Guidance, Request, Sampling
from descant.model import MusicGenModel

FRAME_S = 0.02
MELODY = MelodyConfig(sample_rate_hz=8_000, window_samples=512, hop_samples=128, num_frames=11)
STYLE = StyleConfig(
    features="none",
    feature_dim=5,
    width=8,
    num_heads=2,
    num_layers=1,
    num_codebooks=3,
    codebook_size=16,
    used_codebooks=2,
    stride_frames=4,
)


class Loudness(StyleFeatures):
    """The RMS of each fiftieth of a second, and its powers."""

    @property
    def dim(self) -> int:
        return 5

    @property
    def sample_rate_hz(self) -> int:
        return 4_000

    def to(self, device: torch.device | str) -> "Loudness":
        del device
        return self

    def features(self, wave: Float[Tensor, " N"]) -> Float[Tensor, "T F"]:
        loud = wave[: len(wave) // 80 * 80].reshape(-1, 80).square().mean(dim=1).sqrt()
        return torch.stack([10 * loud**power for power in range(1, 6)], dim=1)


@pytest.fixture(scope="module")
def melody_model(make_model) -> MusicGenModel:
    return make_model(melody=MELODY, lm_changes={"has_cross_attention": False})


@pytest.fixture(scope="module")
def style_model(make_model) -> MusicGenModel:
    model = make_model(style=STYLE, lm_changes={"has_cross_attention": False})
    model.style.encoder = Loudness()
    return model


def tune(*pitches: int) -> Clip:
    times = torch.arange(1_600) / 8_000
    waves = [0.5 * torch.sin(2 * torch.pi * 440 * 2 ** ((pitch - 9) / 12) * times) for pitch in pitches]
    return Clip(torch.cat(waves)[None], 8_000)


def sound(seed: int, duration_s: float = 2.0) -> Clip:
    swell = torch.rand(8, generator=torch.Generator().manual_seed(seed)).repeat_interleave(int(500 * duration_s))
    return Clip((torch.randn(1, len(swell), generator=torch.Generator().manual_seed(9)) * swell).clamp(-1, 1), 4_000)


def ask(**changes) -> Request:
    return Request(**{"text": "warm piano", "duration_s": 12 * FRAME_S, "seed": 1, **changes})


def codes_of(model: MusicGenModel, *requests: Request) -> list[Tensor]:
    return [made.codes for made in Engine(model).generate(requests)]


def test_two_melodies_give_different_codes(melody_model):
    first, second, none = codes_of(melody_model, ask(melody=tune(4, 7)), ask(melody=tune(9, 2)), ask())
    assert not torch.equal(first, second)
    assert not torch.equal(first, none)


@pytest.mark.parametrize(
    ("melody", "message"),
    [
        (Clip(torch.zeros(1, 8_000), 8_000), "silent"),
        (Clip(torch.full((1, 8_000), 1e-6), 8_000), "silent"),
        (Clip(0.1 * torch.ones(1, 240), 8_000), "too short to hear a tune"),
    ],
    ids=["silence", "all but silence", "30 ms"],
)
def test_a_melody_without_a_tune_is_refused(melody_model, melody, message):
    with pytest.raises(InvalidRequest, match=message):
        codes_of(melody_model, ask(melody=melody))


@pytest.mark.parametrize("part", ["mix", "harmonic"])
def test_a_melody_may_have_a_low_sample_rate_and_six_channels(melody_model, part):
    plain = tune(4, 7)
    first, second = codes_of(
        melody_model,
        ask(melody=plain, melody_part=part),
        ask(melody=Clip(plain.samples.expand(6, -1).contiguous(), 8_000), melody_part=part),
    )
    assert torch.equal(first, second)


def test_a_melody_scale_changes_the_codes_and_a_scale_of_one_does_not(melody_model):
    plain, same, pushed = (
        ask(melody=tune(4, 7), guidance=Guidance(scale=3.0, melody_scale=scale)) for scale in (None, 1.0, 6.0)
    )
    codes = codes_of(melody_model, plain, same, pushed)
    assert torch.equal(codes[0], codes[1])
    assert not torch.equal(codes[0], codes[2])
    with pytest.raises(InvalidRequest, match="applies to a melody"):
        codes_of(melody_model, ask(guidance=Guidance(melody_scale=2.0)))


def test_requests_with_and_without_melody_give_the_same_codes_alone_and_together(melody_model):
    requests = [
        ask(melody=tune(4, 7)),
        ask(seed=2),
        ask(melody=tune(9), seed=3, guidance=Guidance(scale=1.0)),
        ask(melody=tune(2, 0, 5), text="fast drums", negative_text="noise and speech", duration_s=5 * FRAME_S),
        ask(melody=tune(2, 0, 5), text=None),
        ask(seed=4, text="loud guitar", melody=tune(11)),
        ask(seed=5, melody=tune(11), guidance=Guidance(melody_scale=4.0)),
    ]
    alone = [codes_of(melody_model, request)[0] for request in requests]
    for ours, theirs in zip(codes_of(melody_model, *requests), alone, strict=True):
        assert torch.equal(ours, theirs)


def test_a_melody_is_read_before_the_text_and_both_before_the_codes(melody_model):
    levels = 255 * torch.eye(12, dtype=torch.long)[:11]
    inputs = melody_model.inputs(
        melody_model.prepare([{"text": "warm piano", "melody": levels}, {}]), melody_model.span()
    )
    text = melody_model.text(melody_model.text.prepare([{"text": "warm piano"}, {}]), melody_model.span())["prefix"]
    strengths = torch.stack([levels, null_melody(MELODY)]) / 255
    melody = melody_model.melody.embed(strengths, torch.ones(2, dtype=torch.bool))
    assert inputs.cross is None
    assert torch.equal(inputs.prefix, torch.cat([melody.values, text.values], dim=1))
    assert not inputs.prefix[1, 11:].any()


def test_the_unconditional_row_of_guidance_has_the_null_melody(melody_model):
    """One frame written out: guidance on the logits of a row with the melody and of one with a C throughout."""
    request = ask(melody=tune(4, 7), duration_s=FRAME_S, sampling=Sampling(greedy=True), guidance=Guidance(scale=3.0))
    made = Engine(melody_model).generate([request])[0]
    levels = made.request.conditions["melody"]
    inputs = melody_model.inputs(
        melody_model.prepare([{"text": "warm piano", "melody": levels}, {"melody": null_melody(MELODY)}]),
        melody_model.span(),
    )
    start = torch.full((2, 4, 1), melody_model.lm.special_code)
    towards, against = melody_model.lm(start, inputs)[:, :, -1]
    assert made.codes[0, 0] == (against + 3 * (towards - against))[0].argmax()


def test_a_melody_is_recorded_as_its_chroma_which_gives_the_same_codes(melody_model):
    made = Engine(melody_model).generate([ask(melody=tune(4, 7))])[0]
    again = codes_of(melody_model, ask(melody_chroma=made.request.conditions["melody"]))[0]
    assert torch.equal(again, made.codes)


def test_a_prompt_is_continued_along_a_melody(melody_model):
    prompt = torch.randint(0, 32, (4, 5), generator=torch.Generator().manual_seed(0))
    requests = [ask(prompt_codes=prompt, melody=tune(4)), ask(prompt_codes=prompt, melody=tune(9)), ask(seed=3)]
    alone = [codes_of(melody_model, request)[0] for request in requests]
    together = codes_of(melody_model, *requests)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(together, alone, strict=True))
    assert torch.equal(alone[0][:, :5], prompt)
    assert not torch.equal(alone[0], alone[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"melody_chroma": torch.zeros(11, 10, dtype=torch.long)}, "10 pitch classes .*; this model takes 12"),
        ({"melody_chroma": torch.full((11, 12), 256)}, "from 256 to 256"),
        ({"style": sound(1)}, "takes no style"),
        ({"style_codes": torch.zeros(2, 2, dtype=torch.long)}, "takes no style"),
        ({"guidance": Guidance(text_scale=5.0)}, "give both"),
    ],
    ids=str,
)
def test_requests_beyond_a_melody_model_are_refused(melody_model, changes, message):
    with pytest.raises(InvalidRequest, match=message):
        codes_of(melody_model, ask(**changes))


def test_two_styles_give_different_codes_and_style_codes_equal_audio(style_model):
    first, second, none = Engine(style_model).generate([ask(style=sound(1)), ask(style=sound(2)), ask()])
    assert not torch.equal(first.codes, second.codes)
    assert not torch.equal(first.codes, none.codes)
    assert first.request.conditions["style"].shape == (2, 25)
    assert torch.equal(codes_of(style_model, ask(style_codes=first.request.conditions["style"]))[0], first.codes)


STYLED = Guidance(scale=3.0, text_scale=5.0)


def test_requests_of_every_guidance_give_the_same_codes_alone_and_together(style_model):
    requests = [
        ask(style=sound(1), guidance=STYLED),
        ask(style=sound(1), seed=2),
        ask(style=sound(2), seed=3, guidance=Guidance(scale=1.0, text_scale=4.0)),
        ask(style=sound(2), seed=3, guidance=Guidance(scale=1.0)),
        ask(seed=4),
        ask(style=sound(3), guidance=STYLED, duration_s=4 * FRAME_S),
    ]
    alone = [codes_of(style_model, request)[0] for request in requests]
    for ours, theirs in zip(codes_of(style_model, *requests), alone, strict=True):
        assert torch.equal(ours, theirs)
    assert not torch.equal(alone[2], alone[3])


def test_double_guidance_is_its_formula(style_model):
    """un + a * (style + b * (text and style - style) - un), greedy, step by step without cache or batch."""
    request = ask(style=sound(1), guidance=STYLED, sampling=Sampling(greedy=True), duration_s=4 * FRAME_S)
    made = Engine(style_model).generate([request])[0]
    style = made.request.conditions["style"]
    inputs = style_model.inputs(
        style_model.prepare([{"text": "warm piano", "style": style}, {"style": style}, {}]), style_model.span()
    )
    steps = style_model.config.pattern.steps(4)
    codes = torch.zeros(4, 4, dtype=torch.long)
    for step in range(1, int(steps.max()) + 1):
        sequence = torch.full((3, 4, step), style_model.lm.special_code)
        for codebook, frame in (steps < step).nonzero():
            sequence[:, codebook, steps[codebook, frame]] = codes[codebook, frame]
        both, styled, neither = style_model.lm(sequence, inputs)[:, :, -1]
        guided = neither + 3.0 * (styled + 5.0 * (both - styled) - neither)
        for codebook, frame in (steps == step).nonzero():
            codes[codebook, frame] = guided[codebook].argmax()
    assert torch.equal(made.codes, codes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"style": sound(1, duration_s=1.0)}, "1.5 s at least"),
        ({"style_codes": torch.zeros(4, 2, dtype=torch.long)}, "4 codebooks"),
        ({"style_codes": torch.full((2, 2), 16)}, "to 16"),
        ({"melody": tune(4)}, "takes no melody"),
        ({"guidance": STYLED}, "give both"),
        ({"guidance": STYLED, "style": sound(1), "text": " "}, "give both"),
    ],
    ids=str,
)
def test_requests_beyond_a_style_model_are_refused(style_model, changes, message):
    with pytest.raises(InvalidRequest, match=message):
        codes_of(style_model, ask(**changes))


def test_a_style_model_without_its_feature_network_takes_codes_only(make_model):
    model = make_model(style=STYLE, lm_changes={"has_cross_attention": False})
    with pytest.raises(InvalidRequest, match="is not loaded"):
        codes_of(model, ask(style=sound(1)))
    assert codes_of(model, ask(style_codes=torch.zeros(2, 3, dtype=torch.long)))


def test_text_scale_one_is_plain_guidance(style_model):
    request = ask(style=sound(1), sampling=Sampling(greedy=True))
    plain, doubled = codes_of(
        style_model,
        replace(request, guidance=Guidance(scale=3.0)),
        replace(request, guidance=Guidance(scale=3.0, text_scale=1.0)),
    )
    assert torch.equal(plain, doubled)
