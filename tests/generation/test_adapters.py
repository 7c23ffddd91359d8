"""Requests with adapters: each is the same alone, in any batch and as a stream, and says what made it."""

import pytest
import torch

from descant.adapters import Adapter, LowRank, stacked
from descant.adapters.layers import merged
from descant.api import MusicGen
from descant.errors import InvalidRequest
from descant.generation.engine import Engine
from descant.generation.request import Request, Sampling

FIELDS = {"text": "warm piano", "duration_s": 0.3, "seed": 1}


@pytest.fixture(scope="module")
def engine(tiny_model):
    return Engine(tiny_model)


@pytest.fixture(scope="module")
def adapters(tiny_model, make_adapter):
    return make_adapter(tiny_model, 1), make_adapter(tiny_model, 2, rank=5, targets=("mlp",))


def codes_of(engine, *requests):
    return [music.codes for music in engine.generate(requests)]


@pytest.mark.parametrize("precision", [None, "int8"])
def test_requests_of_a_mixed_batch_are_the_same_alone(make_model, adapters, precision):
    engine = Engine(make_model(), weight_format=precision)
    first, second = adapters
    mixtures = [(), (first,), ((first, 0.5),), (second,), ((first, 1.0), (second, -2.0))]
    requests = [Request(**FIELDS, adapters=mixture) for mixture in (*mixtures, mixtures[1])]
    together = codes_of(engine, *requests)
    for request, codes in zip(requests, together, strict=True):
        assert torch.equal(codes_of(engine, request)[0], codes)
    assert torch.equal(together[1], together[-1])
    assert len({tuple(codes.flatten().tolist()) for codes in together}) == len(mixtures)


def test_a_stream_has_the_codes_of_the_whole(engine, adapters):
    request = Request(**FIELDS, adapters=adapters)
    stream = engine.stream(request, chunk_s=0.1)
    waves = torch.cat(list(stream), dim=1)
    (whole,) = engine.generate([request])
    assert torch.equal(stream.codes, whole.codes)
    torch.testing.assert_close(waves, whole.wave, rtol=0, atol=1e-5)


def test_a_merged_model_makes_the_same_music(tiny_model, engine, adapters):
    request = Request(**FIELDS, sampling=Sampling(greedy=True))
    mixture = ((adapters[0], 0.7), (adapters[1], 1.0))
    beside = codes_of(engine, Request(**FIELDS, sampling=Sampling(greedy=True), adapters=mixture))[0]
    assert torch.equal(codes_of(Engine(merged(tiny_model, stacked(mixture))), request)[0], beside)
    assert not torch.equal(codes_of(engine, request)[0], beside)


def test_changes_of_the_texts_projection_act(tiny_model, engine):
    rows, columns = tiny_model.text.project.weight.shape
    generator = torch.Generator().manual_seed(4)
    change = LowRank(torch.randn(2, columns, generator=generator), torch.randn(rows, 2, generator=generator))
    plain, changed = (
        codes_of(engine, Request(**FIELDS, sampling=Sampling(greedy=True), adapters=adapters))[0]
        for adapters in ((), Adapter({"text.project.weight": (change,)}))
    )
    assert not torch.equal(plain, changed)


def test_strength_zero_is_the_model_itself(engine, adapters):
    plain, none = codes_of(engine, Request(**FIELDS), Request(**FIELDS, adapters=((adapters[0], 0.0),)))
    assert torch.equal(plain, none)


def test_the_info_says_which_adapters_at_which_strength(tiny_model, adapters):
    clip = MusicGen(tiny_model, "tiny").generate(**FIELDS, adapters=[(adapters[0], 0.5)])
    assert clip.info["adapters"] == [{"name": "adapter", "fingerprint": None, "strength": 0.5}]


@pytest.mark.parametrize("wrong", ["folder", 3, [("folder", 1.0)], [None]])
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_adapter_is_refused(wrong):
    with pytest.raises(InvalidRequest, match=r"adapters=.*expected"):
        Request(adapters=wrong)


@pytest.mark.usefixtures("unchecked")
def test_strengths_have_limits(adapters):
    for strength in (11.0, -11, float("nan"), "much"):
        with pytest.raises(InvalidRequest, match="adapters: strength"):
            Request(adapters=((adapters[0], strength),))
    with pytest.raises(InvalidRequest, match="adapters: 9; at most 8"):
        Request(adapters=[adapters[0]] * 9)


def test_an_adapter_of_another_model_is_refused_before_anything_is_made(engine, make_model, make_adapter):
    wide = make_adapter(make_model(lm_changes={"width": 64}))
    with pytest.raises(InvalidRequest, match="this model has"):
        engine.generate([Request(**FIELDS, adapters=wide)])
