"""The step loop against a slow one: no cache, no batch, no padding, the whole sequence read again at each step."""

import pytest
import torch
from torch import Tensor

from descant.conditioning.tempo_key import TempoKeyConfig
from descant.generation.engine import Engine
from descant.generation.request import Guidance, Request, Sampling
from descant.generation.sampling import NoiseSource
from descant.model import MusicGenModel
from descant.patterns import CoarseFirst, Flatten, Grouped, PartialFlatten, delay, parallel

PATTERNS = (
    parallel(4),
    delay(4),
    Flatten(num_codebooks=4),
    PartialFlatten(num_codebooks=4),
    CoarseFirst(delays=(0, 1, 1, 2)),
    Grouped(num_codebooks=4, group_size=2),
)
NUM_FRAMES = 6
EMPTY = torch.zeros(4, 0, dtype=torch.long)


def draw(logits: Tensor, sampling: Sampling, noise: Tensor) -> int:
    """One code, with the rules written as their definitions say."""
    if sampling.greedy:
        return int(logits.argmax())
    likeliest = logits.argsort(descending=True)
    kept = likeliest[: sampling.top_k or len(logits)]
    p = torch.softmax(logits.double()[kept] / sampling.temperature, dim=0)
    enough = int((p.cumsum(0) < sampling.top_p).sum()) + 1
    race = p[:enough] / noise.double()[kept[:enough]]
    return int(kept[race.argmax()])


def slow_codes(model: MusicGenModel, request: Request) -> Tensor:
    pattern, lm = model.config.pattern, model.lm
    steps = pattern.steps(NUM_FRAMES)
    prompt = EMPTY if request.prompt_codes is None else request.prompt_codes
    codes = torch.zeros(4, NUM_FRAMES, dtype=torch.long)
    codes[:, : prompt.shape[1]] = prompt
    noise = NoiseSource(request.seed, 4, 32)
    for step in range(int(steps[:, prompt.shape[1] :].min()), pattern.length(NUM_FRAMES)):
        sequence = torch.full((1, 4, step), lm.special_code)
        for codebook, frame in (steps < step).nonzero():
            sequence[0, codebook, steps[codebook, frame]] = codes[codebook, frame]
        towards, against = (
            lm(sequence, model.inputs(model.prepare([{"text": text}]), model.span(NUM_FRAMES)))[0, :, -1]
            for text in (request.text, request.negative_text)
        )
        guided = against + request.guidance.scale * (towards - against)
        fresh = noise.ahead()[0].double().exp()
        noise.use()
        for codebook, frame in (steps == step).nonzero():
            if frame >= prompt.shape[1]:
                codes[codebook, frame] = draw(guided[codebook], request.sampling, fresh[codebook])
    return codes


def fast_codes(model: MusicGenModel, request: Request) -> Tensor:
    return Engine(model).generate([request])[0].codes


def ask(**changes) -> Request:
    fields = {"sampling": Sampling(top_k=16), "guidance": Guidance(scale=3.0), "negative_text": "two words"}
    return Request(**{"text": "warm slow piano", "duration_s": NUM_FRAMES * 0.02, "seed": 11, **fields, **changes})


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_fast_decoding_gives_the_codes_of_slow_decoding(make_model, pattern):
    model = make_model(pattern=pattern, max_duration_s=NUM_FRAMES * 0.02)
    assert torch.equal(fast_codes(model, ask()), slow_codes(model, ask()))


@pytest.mark.parametrize("pattern", PATTERNS, ids=repr)
def test_a_continued_piece_is_that_of_slow_decoding(make_model, pattern):
    model = make_model(pattern=pattern, max_duration_s=NUM_FRAMES * 0.02)
    request = ask(prompt_codes=torch.arange(12).reshape(4, 3))
    assert torch.equal(fast_codes(model, request), slow_codes(model, request))


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance": Guidance(scale=0.0)},
        {"guidance": Guidance(scale=1.0)},
        {"text": None},
        {"negative_text": None},
        {"sampling": Sampling(top_k=0)},
        {"sampling": Sampling(top_k=5, temperature=2.0)},
        {"sampling": Sampling(top_k=0, top_p=0.6)},
        {"sampling": Sampling(greedy=True)},
    ],
    ids=repr,
)
def test_every_setting_gives_the_codes_of_slow_decoding(tiny_model, changes):
    request = ask(**changes)
    assert torch.equal(fast_codes(tiny_model, request), slow_codes(tiny_model, request))


def test_a_prefix_model_gives_the_codes_of_slow_decoding(make_model):
    model = make_model(lm_changes={"has_cross_attention": False})
    request = ask(text="three word text", negative_text="also three words")
    assert torch.equal(fast_codes(model, request), slow_codes(model, request))


@pytest.mark.parametrize("pattern", [delay(4), Flatten(num_codebooks=4)], ids=repr)
def test_a_stated_tempo_gives_the_codes_of_slow_decoding(make_model, pattern):
    model = make_model(pattern=pattern, tempo_key=TempoKeyConfig())
    requests = [ask(text=f"drums {bpm} bpm", negative_text="in C minor") for bpm in (90, 140)]
    codes = [fast_codes(model, request) for request in requests]
    assert all(torch.equal(fast, slow_codes(model, request)) for fast, request in zip(codes, requests, strict=True))
    assert not torch.equal(*codes)


def test_greedy_codes_do_not_depend_on_the_seed(tiny_model):
    first, second = (ask(seed=seed, sampling=Sampling(greedy=True)) for seed in (1, 2))
    assert torch.equal(fast_codes(tiny_model, first), fast_codes(tiny_model, second))
