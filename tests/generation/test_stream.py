"""Streaming: the chunks together are the whole, and nothing is generated before it is asked for."""

import pytest
import torch

from descant.audio import Clip
from descant.codec.spectral import SpectralCodecConfig
from descant.conditioning.tempo_key import TempoKeyConfig
from descant.errors import InvalidRequest
from descant.generation.decode import Decoder
from descant.generation.decode_job import Decoding
from descant.generation.engine import Engine
from descant.generation.request import Request
from descant.model import MusicGenModel
from descant.nn.rvq import RVQConfig
from descant.patterns import CoarseFirst, Flatten, delay, parallel

FRAME_S = 0.02


def ask(**changes) -> Request:
    return Request(**{"text": "warm piano, 110 bpm", "duration_s": 31 * FRAME_S, "seed": 1, **changes})


@pytest.fixture(scope="module")
def short_model(make_model) -> MusicGenModel:
    return make_model(max_duration_s=10 * FRAME_S, tempo_key=TempoKeyConfig())


def whole_of(stream) -> torch.Tensor:
    return torch.cat(list(stream), dim=1)


@pytest.mark.parametrize("chunk_s", [0.02, 0.1, 5.0])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"duration_s": 0.011},
        {"timeline": ((0.13, "drums"), (0.4, "loud strings"))},
        {"prompt": Clip(torch.linspace(-0.5, 0.5, 5_000)[None], 32_000)},
    ],
    ids=["plain", "short", "timeline", "continued"],
)
def test_the_chunks_together_are_the_whole(short_model, changes, chunk_s):
    engine, request = Engine(short_model), ask(**changes)
    made = engine.generate([request])[0]
    stream = engine.stream(request, chunk_s=chunk_s)
    whole = whole_of(stream)
    assert torch.equal(stream.codes, made.codes)
    assert whole.shape == made.wave.shape
    torch.testing.assert_close(whole, made.wave, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "pattern", [parallel(4), delay(4), Flatten(num_codebooks=4), CoarseFirst(delays=(0, 1, 1, 2))], ids=repr
)
def test_every_pattern_streams(make_model, pattern):
    window_frames = 31 if pattern.depends_on_length else 10
    engine = Engine(make_model(pattern=pattern, max_duration_s=window_frames * FRAME_S))
    made = engine.generate([ask()])[0]
    stream = engine.stream(ask(), chunk_s=0.04)
    torch.testing.assert_close(whole_of(stream), made.wave, rtol=0, atol=1e-4)
    assert torch.equal(stream.codes, made.codes)


def counted_steps(monkeypatch) -> list[int]:
    """The steps of each call that draws some, of one request."""
    steps: list[int] = []
    advance = Decoder.advance

    def counting(self: Decoder, most: int = 1) -> list[Decoding]:
        (decoding,) = self.active
        before = decoding.step
        done = advance(self, most)
        steps.append(decoding.step - before)
        return done

    monkeypatch.setattr(Decoder, "advance", counting)
    return steps


def test_nothing_is_generated_before_it_is_asked_for(short_model, monkeypatch):
    steps = counted_steps(monkeypatch)
    stream = Engine(short_model).stream(ask(duration_s=10.0), chunk_s=0.1)
    assert not steps
    next(stream)
    made_for_first = sum(steps)
    assert 0 < made_for_first < 60
    next(stream)
    assert sum(steps) < made_for_first + 20


@pytest.mark.parametrize("num_read", [0, 1, 3])
def test_a_stream_that_is_closed_frees_its_slots_at_once(short_model, monkeypatch, num_read):
    engine, sessions = Engine(short_model), []
    start = engine.runtime.start
    monkeypatch.setattr(engine.runtime, "start", lambda: (sessions.append(start()), sessions[-1])[1])
    with engine.stream(ask(duration_s=10.0), chunk_s=0.04) as stream:
        for _ in range(num_read):
            next(stream)
        assert [bool(session._slots.kept) for session in sessions] == [True] * min(1, num_read)
    assert not any(session._slots.kept for session in sessions)
    assert list(stream) == []
    assert stream.codes.shape[1] < 10.0 / FRAME_S


@pytest.mark.parametrize("is_continued", [False, True])
def test_the_first_chunk_is_given_out_as_soon_as_it_can_be_and_later_ones_grow(make_model, monkeypatch, is_continued):
    steps = counted_steps(monkeypatch)
    model = make_model()
    prompt = Clip(torch.linspace(-0.5, 0.5, 12 * 640)[None], 32_000) if is_continued else None
    stream = Engine(model).stream(ask(duration_s=1.5, prompt=prompt), chunk_s=0.3, first_chunk_s=0.04)
    if is_continued:
        assert torch.equal(next(stream), prompt.samples)
    frames = [wave.shape[1] / 640 for wave in stream]
    # The codec may keep a part of a frame back.
    assert 1 <= frames[0] <= 2
    assert frames[1:5] == [4, 8, 15, 15]
    assert sum(steps) == (75 - 12 * is_continued) + 3


def test_the_first_sound_takes_only_the_steps_that_it_needs(make_model, monkeypatch):
    steps = counted_steps(monkeypatch)
    model = make_model()
    first = next(Engine(model).stream(ask(duration_s=1.5), chunk_s=0.3, first_chunk_s=0.04))
    assert 640 <= first.shape[1] <= 2 * 640
    # Two frames, the codec's look-ahead, and the delay of the last codebook; fewer calls than steps.
    assert len(steps) < sum(steps)
    assert sum(steps) == 2 + model.codec.lookahead_frames + 3


def test_the_prompt_can_be_changed_on_the_way(short_model):
    engine = Engine(short_model)
    plain = engine.stream(ask(), chunk_s=0.1)
    changed = engine.stream(ask(), chunk_s=0.1)
    first = next(changed)
    assert torch.equal(first, next(plain))
    changed.change("loud drums, 90 bpm")
    rest, of_plain = whole_of(changed), whole_of(plain)
    assert rest.shape == of_plain.shape
    assert torch.equal(changed.codes[:, :5], plain.codes[:, :5])
    assert not torch.equal(changed.codes, plain.codes)
    with pytest.raises(InvalidRequest):
        changed.change("\0")


def test_a_prompt_that_is_changed_before_the_first_step_applies_from_the_first_frame(short_model):
    engine = Engine(short_model)
    changed = engine.stream(ask(text="calm"))
    changed.change("loud drums, 90 bpm")
    torch.testing.assert_close(whole_of(changed), engine.generate([ask(text="loud drums, 90 bpm")])[0].wave)


def test_a_stream_that_is_changed_many_times_does_not_grow(short_model):
    stream = Engine(short_model).stream(ask(duration_s=2.0), chunk_s=0.1)
    for number, _ in enumerate(stream):
        stream.change(f"prompt {number}")
        assert len(stream._state.sections) <= 1 + (number == 0)
        assert len(stream._state._prepared) <= 1


def test_the_prompt_comes_first_and_at_once(short_model):
    given = Clip(torch.linspace(-0.5, 0.5, 5_000)[None], 32_000)
    assert torch.equal(next(Engine(short_model).stream(ask(prompt=given))), given.samples)


def test_a_loop_cannot_be_streamed(short_model):
    with pytest.raises(InvalidRequest, match="loop_bars"):
        Engine(short_model).stream(ask(loop_bars=1))


def test_a_spectral_codec_streams(make_model):
    quantizer = RVQConfig(dim=8, num_codebooks=4, codebook_size=32)
    config = SpectralCodecConfig(
        encoder_width=8, decoder_width=8, decoder_layers=2, phase_iterations=3, quantizer=quantizer
    )
    engine = Engine(make_model(codec=config))
    made = engine.generate([ask()])[0]
    torch.testing.assert_close(whole_of(engine.stream(ask(), chunk_s=0.1)), made.wave, rtol=0, atol=1e-4)
