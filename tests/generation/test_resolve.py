"""From a request to a resolved one: what is left open, read in the model's terms, or refused."""

import pytest
import torch

from descant.audio import Clip
from descant.conditioning.chroma import MelodyConfig
from descant.errors import InvalidRequest
from descant.generation import conditions
from descant.generation.engine import Engine
from descant.generation.request import Guidance, Request
from descant.generation.resolve import Resolver, default_guidance, default_sampling
from descant.model import GenerationDefaults, MusicGenModel
from descant.patterns import CoarseFirst, Delay, Flatten, Grouped, PartialFlatten
from descant.provenance import info_of, request_from_info

FRAME_S = 0.02
MELODY = MelodyConfig(sample_rate_hz=8_000, window_samples=256, hop_samples=128, fusion="sum", part="mix")
TUNE = Clip(0.5 * torch.sin(torch.arange(8_000) / 3)[None], 8_000)


def ask(**changes) -> Request:
    return Request(**{"text": "warm piano", "duration_s": 8 * FRAME_S, "seed": 1, **changes})


def codes_of(model: MusicGenModel, *requests: Request) -> list[torch.Tensor]:
    return [music.codes for music in Engine(model).generate(requests)]


def test_fields_that_are_left_open_are_resolved_and_recorded(tiny_model):
    defaults = tiny_model.config.defaults
    first, second = Engine(tiny_model).generate([Request(text="piano", duration_s=20 * FRAME_S)] * 2)
    assert first.request.seed != second.request.seed
    assert first.request.sampling == default_sampling(defaults)
    assert first.request.guidance == default_guidance(defaults)
    assert torch.equal(codes_of(tiny_model, request_from_info(info_of(first.request)))[0], first.codes)


def test_a_prompt_of_audio_is_its_codes(tiny_model):
    clip = Clip(torch.randn(2, 2_205).clamp(-1, 1) * 0.3, 22_050)
    fitted = clip.resample(32_000).to_channels(1)
    with torch.no_grad():
        codes = tiny_model.codec.encode(fitted.samples[None])[0]
    from_audio = Engine(tiny_model).generate([ask(prompt=clip)])[0]
    assert torch.equal(from_audio.codes, codes_of(tiny_model, ask(prompt_codes=codes))[0])
    assert from_audio.request.num_prompt_frames == 5


def test_a_prompt_of_audio_counts_in_whole_frames(tiny_model):
    """The rest of a last frame was once filled up with silence, and the music went on behind a gap."""
    samples = 0.3 * torch.randn(1, 3 * 640 + 200).clamp(-1, 1)
    cut, whole = (ask(prompt=Clip(part, 32_000)) for part in (samples, samples[:, : 3 * 640]))
    assert torch.equal(*codes_of(tiny_model, cut, whole))
    with pytest.raises(InvalidRequest, match="less than one frame"):
        codes_of(tiny_model, ask(prompt=Clip(samples[:, :639], 32_000)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride_s": 30.0}, "windows of 30 s"),
        ({"melody": Clip(torch.zeros(1, 8_000), 8_000)}, "takes no melody"),
        ({"style": Clip(torch.zeros(1, 8_000), 8_000)}, "takes no style"),
        ({"prompt_codes": torch.zeros(4, 8, dtype=torch.long)}, "the prompt fills 8 of 8 frames"),
        ({"prompt_codes": torch.zeros(3, 2, dtype=torch.long)}, "3 codebooks"),
        ({"prompt_codes": torch.full((4, 2), 32)}, "to 32"),
        (
            {"prompt": Clip(torch.zeros(1, 2_000), 32_000), "prompt_codes": torch.zeros(4, 5, dtype=torch.long)},
            "5 frames are 0.1 s, but the prompt is 0.0625 s long",
        ),
        ({"prompt_codes": torch.full((4, 2), -1)}, "from -1"),
    ],
    ids=str,
)
def test_requests_beyond_the_model_are_refused_before_the_first_step(tiny_model, changes, message):
    steps = []
    with pytest.raises(InvalidRequest, match=message):
        Engine(tiny_model).generate([ask(), ask(**changes)], progress=lambda *_: steps.append(1))
    assert not steps


@pytest.mark.parametrize(
    ("changes", "is_refused"),
    [
        ({"timeline": ((4 * FRAME_S, "drums"),)}, True),
        ({"stride_s": 30.0}, True),
        ({"duration_s": 9 * FRAME_S}, True),
        ({"tempo": 120.0}, True),
        ({"chords": "C:0"}, True),
        ({"style": TUNE}, True),
        ({"melody": Clip(torch.zeros(1, 8_000), 8_000)}, True),
        ({"melody": Clip(TUNE.samples[:, :20], 8_000)}, True),
        ({"guidance": Guidance(text_scale=2.0)}, True),
        ({"guidance": Guidance(melody_scale=2.0)}, True),
        ({"prompt": Clip(torch.zeros(1, 600), 32_000)}, True),
        ({"prompt_codes": torch.zeros(4, 8, dtype=torch.long)}, True),
        ({}, False),
        ({"melody": TUNE, "guidance": Guidance(melody_scale=2.0)}, False),
        ({"prompt": Clip(TUNE.samples[:, :400], 8_000)}, False),
    ],
    ids=str,
)
def test_a_check_refuses_what_resolving_refuses_and_runs_no_network(make_model, monkeypatch, changes, is_refused):
    model = make_model(melody=MELODY, pattern=CoarseFirst(delays=(0, 0, 0, 1)), max_duration_s=8 * FRAME_S)
    resolver = Resolver(model)

    def refusal(act, **fields) -> str | None:
        try:
            act(Request(**{"text": "piano", "duration_s": 8 * FRAME_S, "seed": 1, **fields}))
        except InvalidRequest as error:
            return str(error)
        return None

    expected = refusal(resolver.resolve, **changes)
    with monkeypatch.context() as patch:
        for owner, name in ((model.codec, "encode_in_chunks"), (conditions, "extract_melody")):
            patch.setattr(owner, name, lambda *_: pytest.fail("a network was run"))
        assert refusal(resolver.check, **changes) == expected
    assert (expected is not None) == is_refused


def test_a_melody_that_several_requests_share_is_analysed_once(make_model, monkeypatch):
    analysed = []
    extract = conditions.extract_melody
    monkeypatch.setattr(conditions, "extract_melody", lambda clip, *rest: analysed.append(1) or extract(clip, *rest))
    resolver = Resolver(make_model(melody=MELODY))
    first, second = (resolver.resolve(ask(melody=TUNE, seed=seed)) for seed in (1, 2))
    assert len(analysed) == 1
    assert torch.equal(first.conditions["melody"], second.conditions["melody"])
    # A longer request follows more of the clip.
    resolver.resolve(ask(melody=TUNE, duration_s=40.0))
    assert len(analysed) == 2


def test_conditions_that_are_not_given_are_absent(make_model):
    model = make_model(melody=MELODY)
    assert list(Resolver(model).resolve(ask(melody=TUNE)).conditions) == ["melody"]
    assert not Resolver(model).resolve(ask()).conditions


def test_a_loop_is_resolved_to_its_bars_and_the_bar_before(tiny_model):
    resolved = Resolver(tiny_model).resolve(ask(text="drums, 120 bpm", loop_bars=2, beats_per_bar=3))
    assert resolved.duration_s == 3.0
    assert (resolved.lead_in_samples, resolved.num_samples) == (48_000, 96_000)
    assert resolved.num_frames == 225


def test_the_melody_scale_of_a_model_applies_to_requests_with_a_melody_only(make_model):
    model = make_model(melody=MELODY, defaults=GenerationDefaults(melody_guidance=2.5))
    with_melody, without = (Resolver(model).resolve(ask(melody=melody)).guidance for melody in (TUNE, None))
    assert with_melody == Guidance(scale=3.0, melody_scale=2.5)
    assert without == Guidance(scale=3.0)


@pytest.mark.parametrize("pattern", [CoarseFirst(delays=(0, 0, 0, 1)), Grouped()], ids=repr)
def test_an_order_that_depends_on_the_length_refuses_lengths_it_was_not_trained_for(make_model, pattern):
    """Music of another length was once generated in an order of codes that the model had never seen."""
    model = make_model(pattern=pattern, max_duration_s=8 * FRAME_S)
    assert codes_of(model, ask())[0].shape == (4, 8)
    for changes in ({"duration_s": 7 * FRAME_S}, {"duration_s": 9 * FRAME_S}):
        with pytest.raises(InvalidRequest, match=r"duration_s=.*trained on clips of 0\.16 s"):
            Resolver(model).resolve(ask(**changes))
    with pytest.raises(InvalidRequest, match="timeline"):
        Resolver(model).resolve(ask(timeline=((4 * FRAME_S, "drums"),)))


def test_any_other_order_takes_any_length(make_model):
    for pattern in (Delay(), Flatten(), PartialFlatten()):
        model = make_model(pattern=pattern, max_duration_s=8 * FRAME_S)
        assert Resolver(model).resolve(ask(duration_s=7 * FRAME_S)).num_frames == 7
