"""Music longer than the model was trained for, and prompts that follow each other."""

import pytest
import torch

from descant.audio import Clip
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.tempo_key import TempoKeyConfig
from descant.errors import InvalidRequest
from descant.generation.engine import Engine
from descant.generation.prepared import Preparer
from descant.generation.request import Guidance, Request
from descant.generation.resolve import Resolver
from descant.generation.state import GenerationState
from descant.model import MusicGenModel
from descant.patterns import Flatten, PartialFlatten, delay

FRAME_S = 0.02
SHORT = {"max_duration_s": 10 * FRAME_S, "tempo_key": TempoKeyConfig()}
"""Windows of ten frames with a stride of six."""


def ask(**changes) -> Request:
    return Request(**{"text": "warm piano, 110 bpm", "duration_s": 31 * FRAME_S, "seed": 1, **changes})


def codes_of(model: MusicGenModel, *requests: Request) -> list[torch.Tensor]:
    return [made.codes for made in Engine(model).generate(requests)]


@pytest.fixture(scope="module")
def short_model(make_model) -> MusicGenModel:
    return make_model(**SHORT)


def test_long_music_begins_with_its_first_window(short_model):
    long, short = codes_of(short_model, ask(), ask(duration_s=10 * FRAME_S))
    assert long.shape[1] == 31
    assert torch.equal(long[:, :10], short)


def test_a_window_is_a_continuation_of_what_the_last_one_ended_with(short_model):
    """Greedy, so that the noise, which all windows share, has no effect; without a tempo, so that the beat has none."""
    from descant.generation.request import Sampling

    changes = {"text": "warm piano", "sampling": Sampling(greedy=True)}
    whole = codes_of(short_model, ask(**changes))[0]
    for first in (6, 12):
        again = codes_of(
            short_model, ask(**changes, prompt_codes=whole[:, first : first + 4], duration_s=10 * FRAME_S)
        )[0]
        assert torch.equal(again, whole[:, first : first + 10])


@pytest.mark.parametrize("pattern", [delay(4), Flatten(num_codebooks=4), PartialFlatten(num_codebooks=4)], ids=repr)
def test_long_and_short_requests_of_all_kinds_are_the_same_alone_and_together(make_model, pattern):
    model = make_model(pattern=pattern, **SHORT)
    prompt = torch.randint(0, 32, (4, 7), generator=torch.Generator().manual_seed(0))
    requests = [
        ask(),
        ask(seed=2, duration_s=3 * FRAME_S),
        ask(timeline=((5 * FRAME_S, "drums"), (18 * FRAME_S, "loud strings, 90 bpm"))),
        ask(prompt_codes=prompt, stride_s=3 * FRAME_S),
        ask(seed=3, guidance=Guidance(scale=4.0, schedule=((0.1, 1.0), (0.4, 2.0)))),
        ask(seed=4, guidance=Guidance(scale=1.0), text=None, duration_s=17 * FRAME_S),
    ]
    alone = [codes_of(model, request)[0] for request in requests]
    together = codes_of(model, *requests)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(together, alone, strict=True))
    assert [codes.shape[1] for codes in together] == [31, 3, 31, 31, 31, 17]
    assert torch.equal(together[3][:, :7], prompt)


def test_a_new_prompt_changes_the_frames_from_its_second_on_and_none_before(short_model):
    plain, drums, choir = codes_of(
        short_model,
        ask(),
        ask(timeline=((13 * FRAME_S, "loud drums"),)),
        ask(timeline=((13 * FRAME_S, "a quiet choir"),)),
    )
    assert torch.equal(drums[:, :13], choir[:, :13])
    assert not torch.equal(drums[:, 13:], choir[:, 13:])
    # Without the change its window is longer, so only the windows before it are the same.
    assert torch.equal(plain[:, :10], drums[:, :10])


def test_the_stride_changes_how_much_context_is_kept(short_model):
    first, second = codes_of(short_model, ask(stride_s=9 * FRAME_S), ask(stride_s=2 * FRAME_S))
    assert torch.equal(first[:, :10], second[:, :10])
    assert not torch.equal(first, second)
    with pytest.raises(InvalidRequest, match=r"stride_s=0\.2: must be shorter than this model's windows of 0\.2 s"):
        codes_of(short_model, ask(stride_s=10 * FRAME_S))


def test_a_constant_schedule_is_its_scale_and_a_later_point_changes_later_frames(short_model):
    plain, constant, falling = codes_of(
        short_model,
        ask(guidance=Guidance(scale=3.0)),
        ask(guidance=Guidance(scale=3.0, schedule=((0.1, 3.0), (0.5, 3.0)))),
        ask(guidance=Guidance(scale=3.0, schedule=((0.3, 3.0), (0.32, 9.0)))),
    )
    assert torch.equal(plain, constant)
    assert torch.equal(plain[:, :15], falling[:, :15])
    assert not torch.equal(plain, falling)


@pytest.mark.parametrize("fusion", ["prefix", "cross", "sum"])
def test_a_melody_continues_in_later_windows(make_model, fusion):
    """A melody whose first half is another changes the first window; one whose second half is, the last one."""
    config = MelodyConfig(
        sample_rate_hz=8_000, window_samples=256, hop_samples=128, num_frames=13, fusion=fusion, part="mix"
    )
    model = make_model(melody=config, **SHORT)
    # The projection of a melody that is added to the steps starts at zero.
    model.melody.project.weight.normal_(generator=torch.Generator().manual_seed(0))
    times = torch.arange(8_000) / 8_000

    def tune(*rates_hz: float) -> Clip:
        waves = [0.5 * torch.sin(2 * torch.pi * rate_hz * times[:2_480]) for rate_hz in rates_hz]
        return Clip(torch.cat(waves)[None], 8_000)

    same, beginning, end = codes_of(
        model, *(ask(melody=tune(*rates)) for rates in ((440.0, 440.0), (330.0, 440.0), (440.0, 330.0)))
    )
    assert not torch.equal(same[:, :10], beginning[:, :10])
    assert torch.equal(same[:, :10], end[:, :10])
    assert not torch.equal(same[:, 22:], end[:, 22:])


def test_a_pushed_melody_is_compared_on_the_same_beat(make_model):
    """Without the melody a row differs in nothing else, though its section begins within a beat."""
    config = MelodyConfig(sample_rate_hz=8_000, window_samples=256, hop_samples=128, fusion="sum", part="mix")
    model = make_model(melody=config, **SHORT)
    tune = Clip(0.5 * torch.sin(torch.arange(8_000) / 3)[None], 8_000)
    request = ask(
        timeline=((13 * FRAME_S, "drums, 100 bpm"),), melody=tune, guidance=Guidance(scale=3.0, melody_scale=3.0)
    )
    state = GenerationState(model, Resolver(model).resolve(request), Preparer(model))
    state.codes = torch.zeros(4, 13, dtype=torch.long)
    job = state.job(next(window for window in state.windows if window.section == 1))
    # The melody's vectors are zeros at the beginning of training, so the row without it is the same and is left out.
    assert job.guidance == ((3.0,),)
    assert len(job.inputs.sum) == 2


def test_a_loops_melody_begins_with_its_first_bar_and_is_as_long(make_model):
    config = MelodyConfig(sample_rate_hz=8_000, window_samples=256, hop_samples=128, fusion="sum", part="mix")
    model = make_model(melody=config, **SHORT)
    tune = Clip(0.5 * torch.sin(torch.arange(200_000) / 3)[None], 8_000)
    resolved = Resolver(model).resolve(ask(text="drums 60 bpm", loop_bars=5, melody=tune))
    assert len(resolved.conditions["melody"]) == round(20 * config.frame_rate_hz)
    assert resolved.lead_in_samples == 4 * model.codec.sample_rate_hz


def test_a_loop_is_as_long_as_its_bars(short_model):
    made = Engine(short_model).generate([ask(text="drums 240 bpm", loop_bars=1, beats_per_bar=3)])[0]
    rate_hz = short_model.codec.sample_rate_hz
    assert made.wave.shape[1] == round(0.75 * rate_hz)
    assert made.request.duration_s == 0.75
    # The codes include the bar before the loop.
    assert made.codes.shape[1] == 75


def test_a_continued_clip_begins_with_exactly_what_was_given(short_model):
    rate_hz = short_model.codec.sample_rate_hz
    given = Clip(0.3 * torch.randn(1, round(0.137 * rate_hz), generator=torch.Generator().manual_seed(1)), rate_hz)
    for duration_s in (0.19, 0.6):
        made = Engine(short_model).generate([ask(prompt=given, duration_s=duration_s)])[0]
        assert torch.equal(made.wave[:, : given.samples.shape[1]], given.samples)
        assert made.wave.shape[1] == round(duration_s * rate_hz)
        assert made.request.num_prompt_frames == 6


def test_a_loops_schedule_counts_from_its_first_bar(tiny_model):
    """It once counted from the bar before the loop, so that the scale changed one bar early."""
    guidance = Guidance(scale=3.0, schedule=((0.02, 5.0),))
    resolved = Resolver(tiny_model).resolve(ask(text="drums 240 bpm", loop_bars=1, beats_per_bar=1, guidance=guidance))
    state = GenerationState(tiny_model, resolved, Preparer(tiny_model))
    (scales,) = state.job(state.windows[0]).guidance
    lead_in_frames = 12  # a beat of 0.25 s
    assert scales[: lead_in_frames + 1] == (3.0,) * (lead_in_frames + 1)
    assert scales[-1] == 5.0
