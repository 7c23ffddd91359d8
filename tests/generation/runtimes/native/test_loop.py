"""Steps that are drawn and read in one run: the codes, values and logits of the same steps one after another."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from descant.errors import CheckpointError
from descant.generation.decode import Decoder
from descant.generation.decode_job import DecodeJob
from descant.generation.request import Sampling
from descant.generation.runtimes.native import NativeRuntime
from descant.generation.runtimes.native.buffers import MAX_TOKENS
from descant.generation.runtimes.native.team_size import TeamSize
from descant.generation.sampling import NoiseSource
from descant.model import MusicGenModel
from descant.nn.inputs import LMInputs
from descant.patterns import Flatten, Pattern

NUM_FRAMES = 45


def job(
    model: MusicGenModel, seed: int, sampling: Sampling, scales: tuple[tuple[float, ...], ...] = ((3.0,),)
) -> DecodeJob:
    generator = torch.Generator().manual_seed(seed)
    width, rows = model.lm.config.transformer.width, 1 + len(scales)
    mask = torch.ones(rows, 3, dtype=torch.bool)
    mask[1:] = False
    return DecodeJob(
        num_frames=NUM_FRAMES - seed,
        prompt=torch.randint(0, 32, (4, 2 * seed), generator=generator),
        inputs=LMInputs(cross=torch.randn(rows, 3, width, generator=generator) * mask[..., None], cross_mask=mask),
        guidance=scales,
        sampling=sampling,
        noise=NoiseSource(seed, 4, 32),
    )


JOBS = (
    (0, Sampling(top_k=8)),
    (1, Sampling(top_k=0, temperature=0.7, hold_penalty=20.0)),
    (3, Sampling(greedy=True)),
    (4, Sampling(top_k=3, hold_penalty=60.0), ((3.0,), (2.0,))),
    (5, Sampling(top_k=9), ()),
)


def codes_of(
    model: MusicGenModel, jobs: list[DecodeJob], most: int, num_threads: int = 1, pattern: Pattern | None = None
):
    """The codes of each job, and how many calls it took to draw them."""
    with Decoder(NativeRuntime(model.lm), pattern or model.config.pattern) as decoder:
        decoder._session.team = TeamSize(num_threads)
        decodings, num_calls = [decoder.join(job) for job in jobs], 0
        while decoder.active:
            decoder.advance(most)
            num_calls += 1
        return [decoder.codes(decoding) for decoding in decodings], num_calls


def jobs_of(model: MusicGenModel) -> list[DecodeJob]:
    return [job(model, *arguments) for arguments in JOBS]


def are_equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


@pytest.mark.parametrize("num_threads", [1, 3])
def test_steps_drawn_in_one_run_have_the_codes_of_single_steps(tiny_model, num_threads):
    expected, num_single = codes_of(tiny_model, jobs_of(tiny_model), 1)
    for most in (2, 5, 8):
        found, num_calls = codes_of(tiny_model, jobs_of(tiny_model), most, num_threads)
        assert are_equal(found, expected), most
        assert num_calls < num_single * 0.8


def test_a_job_beside_others_has_the_codes_that_it_has_alone(tiny_model):
    together, _ = codes_of(tiny_model, jobs_of(tiny_model), 8)
    alone = [codes_of(tiny_model, [one], 8)[0][0] for one in jobs_of(tiny_model)]
    assert are_equal(together, alone)


@pytest.mark.parametrize(
    "change",
    [{"sampling": Sampling(top_p=0.7)}, {"guidance": (tuple(1 + step / 9 for step in range(60)),)}],
    ids=["top_p", "schedule"],
)
def test_what_a_run_cannot_draw_is_drawn_step_by_step(tiny_model, change):
    def jobs() -> list[DecodeJob]:
        return [replace(job(tiny_model, 1, Sampling(top_k=5)), **change)]

    expected, num_single = codes_of(tiny_model, jobs(), 1)
    found, num_calls = codes_of(tiny_model, jobs(), 8)
    assert are_equal(found, expected)
    assert num_calls == num_single


def test_patterns_whose_steps_have_gaps_and_more_rows_than_a_run_reads_are_decoded_step_by_step(tiny_model):
    flat, _ = codes_of(tiny_model, jobs_of(tiny_model)[:2], 1, pattern=Flatten(num_codebooks=4))
    assert are_equal(codes_of(tiny_model, jobs_of(tiny_model)[:2], 8, pattern=Flatten(num_codebooks=4))[0], flat)

    def many() -> list[DecodeJob]:
        return [replace(job(tiny_model, 0, Sampling(top_k=8)), num_frames=6) for _ in range(MAX_TOKENS // 2 + 1)]

    crowded, _ = codes_of(tiny_model, many(), 8)
    assert are_equal(crowded, [codes_of(tiny_model, many()[:1], 8)[0][0]] * len(crowded))


def test_values_that_are_not_finite_are_noticed(make_model):
    broken = make_model()
    broken.lm.norm.weight[0] = torch.nan
    with pytest.raises(CheckpointError, match="not finite"):
        codes_of(broken, [job(broken, 0, Sampling(top_k=8))], 8)
