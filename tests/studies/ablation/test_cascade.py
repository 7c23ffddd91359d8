"""A cascade: its codes are those of the engine where one model draws all, and each model keeps to its codebooks."""

from dataclasses import replace

import pytest
import torch

from descant.errors import ConfigError
from descant.generation.engine import Engine
from descant.patterns import Delay
from descant.studies.ablation.cascade import OPEN, Stage, decode_open, generate_cascade
from descant.studies.ablation.measures import frame_nats, prompt_requests
from descant.studies.ablation.run import Judging
from descant.studies.ablation.train import new_model, num_parameters

AHEAD = 4


@pytest.fixture
def cascade(toy):
    frames = toy.num_frames
    text = replace(toy, judging=Judging(conditions=("text",)), model=replace(toy.model, melody=None))
    first = replace(text, model=replace(text.model, pattern=Delay(delays=(0, frames, frames, frames))))
    rest = replace(text, model=replace(text.model, pattern=Delay(delays=(0, AHEAD, AHEAD + 1, AHEAD + 2))))
    return replace(
        first,
        task=replace(first.task, codebook_weights=(1.0, 0.0, 0.0, 0.0)),
        fine=replace(rest, task=replace(rest.task, codebook_weights=(0.0, 1.0, 1.0, 1.0))),
    )


@pytest.fixture
def models(cascade, data):
    made = [new_model(stage, data).eval().requires_grad_(False) for stage in cascade.stages]
    for seed, model in enumerate(made):
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.lm.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return made


def test_codes_of_one_model_are_those_of_the_engine(toy, data):
    model = new_model(toy, data).eval().requires_grad_(False)
    requests = prompt_requests(toy, model, data)[:3]
    expected = torch.stack([music.codes for music in Engine(model).generate(requests)])
    given = torch.full(expected.shape, OPEN)
    assert torch.equal(decode_open(model, requests, given), expected)


def test_given_codes_stay_and_change_what_is_drawn(cascade, models, data):
    requests = prompt_requests(cascade, models[1], data)[:2]
    given = torch.full((2, 4, cascade.num_frames), OPEN)
    given[:, 0] = 3
    first = decode_open(models[1], requests, given)
    assert bool((first[:, 0] == 3).all())
    assert int(first.min()) >= 0
    given[:, 0, 100] = 5
    second = decode_open(models[1], requests, given)
    assert torch.equal(first[:, 1:, : 99 - AHEAD], second[:, 1:, : 99 - AHEAD])
    assert not torch.equal(first[:, 1:], second[:, 1:])


def test_a_cascade_draws_every_code(cascade, models, data):
    requests = prompt_requests(cascade, models[0], data)[:2]
    first, second = (Stage(model, stage.codebooks) for model, stage in zip(models, cascade.stages, strict=True))
    codes = generate_cascade(first, second, requests)
    assert codes.shape == (2, 4, cascade.num_frames)
    assert 0 <= int(codes.min()) <= int(codes.max()) < models[0].lm.config.codebook_size


def test_the_nats_of_a_cascade_are_those_of_its_models(cascade, models, data):
    captions = [prompt.text for prompt in data.held_out.prompts]
    total = frame_nats(cascade, models, data, captions)
    parts = [frame_nats(stage, [model], data, captions) for stage, model in zip(cascade.stages, models, strict=True)]
    torch.testing.assert_close(sum(parts), total)
    assert all(bool((part > 0).all()) for part in parts)


def test_the_first_model_has_no_parameters_for_what_it_does_not_read(cascade, models):
    first, rest = (num_parameters(*pair) for pair in zip(cascade.stages, models, strict=True))
    width, entries = 16, 32
    # Three embeddings and three heads less; the second model reads all codebooks, and lacks one head.
    assert rest - first == 3 * (entries + 1) * width + 2 * entries * width


def test_a_cascade_draws_each_codebook_once(cascade):
    with pytest.raises(ConfigError, match="each once"):
        replace(cascade, fine=replace(cascade.fine, task=replace(cascade.fine.task, codebook_weights=None)))
