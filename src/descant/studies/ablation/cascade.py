"""Generation with two models, one after the other: the first draws some codebooks of all frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Int
from torch import Tensor

from descant.generation.decode_job import DecodeJob
from descant.generation.guidance import guide
from descant.generation.prepared import Preparer
from descant.generation.request import Request
from descant.generation.resolve import Resolver
from descant.generation.runtimes import runtime_for
from descant.generation.sampling import SamplingRows, sample
from descant.generation.state import GenerationState
from descant.model import MusicGenModel
from descant.nn.settings import own_settings
from descant.patterns import deinterleave, interleave
from descant.shapes import Codes

OPEN = -1
"""Stands for a code that is to be drawn."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A model of a cascade and the codebooks that it draws."""

    model: MusicGenModel
    codebooks: tuple[int, ...]


@own_settings()
def generate_cascade(first: Stage, second: Stage, requests: Sequence[Request]) -> Codes:
    """The codes of requests of equal length, each no longer than a clip that the models were trained on.

    The first model never sees the codebooks of the second one; the second model reads those of the first ahead by what
    its pattern delays its own.
    """
    num_frames = round(requests[0].duration_s * first.model.codec.frame_rate_hz)
    shape = (len(requests), first.model.codec.num_codebooks, num_frames)
    given = torch.full(shape, first.model.lm.special_code, device=first.model.device)
    given[:, list(first.codebooks)] = OPEN
    coarse = decode_open(first.model, requests, given)
    given = torch.full(shape, OPEN, device=first.model.device)
    given[:, list(first.codebooks)] = coarse[:, list(first.codebooks)]
    return decode_open(second.model, requests, given)


@torch.inference_mode()
def decode_open(model: MusicGenModel, requests: Sequence[Request], given: Codes) -> Codes:
    """The codes of requests of which some codebooks are given.

    Args:
        given: ``OPEN`` where codes are to be drawn; all other cells stay as they are. The same cells are open in every
            row.
    """
    table = model.config.pattern.steps(given.shape[-1])
    length = int(table.max()) + 1
    sequence = interleave(given, table, length, empty=model.lm.special_code)
    is_open = (sequence == OPEN)[0]
    jobs = _jobs(model, requests)
    own = [sum(job.num_rows for job in jobs[:index]) for index in range(len(jobs))]
    # A job without guidance is pushed away from itself, which changes nothing.
    against = [row + job.num_rows - 1 for row, job in zip(own, jobs, strict=True)]
    of_row = torch.arange(len(jobs)).repeat_interleave(torch.tensor([job.num_rows for job in jobs]))
    scales = torch.tensor([job.guidance[0][0] if job.guidance else 1.0 for job in jobs], device=given.device)
    settings = SamplingRows.of([job.sampling for job in jobs], model.lm.config.codebook_size, given.device)
    session = runtime_for(model.lm).start()
    joined = [session.join(job.inputs, _start(sequence, job.num_rows), length) for job in jobs]
    slots = [slot for of_job, _ in joined for slot in of_job]
    logits = torch.cat([first for _, first in joined])
    for step in range(1, int(is_open.any(dim=0).nonzero().max()) + 1):
        noise = torch.stack([job.noise.ahead()[0] for job in jobs]).to(given.device)
        guided = guide(logits[own], logits[against], scales[:, None, None])
        drawn, _ = sample(guided, settings, noise)
        sequence[:, :, step] = torch.where(is_open[:, step], drawn, sequence[:, :, step])
        for job in jobs:
            job.noise.use()
        logits = session.step(slots, sequence[of_row, :, step])
    session.leave(slots)
    return deinterleave(sequence, table)


def _jobs(model: MusicGenModel, requests: Sequence[Request]) -> list[DecodeJob]:
    resolver, preparer = Resolver(model), Preparer(model)
    states = [GenerationState(model, resolver.resolve(request), preparer) for request in requests]
    jobs = [state.job(state.next_window) for state in states]
    assert max(job.num_rows for job in jobs) <= 2, "a cascade has one term of guidance"
    return jobs


def _start(sequence: Int[Tensor, "B K S"], num_rows: int) -> Int[Tensor, "rows K 1"]:
    """The start token, which is the same in every row."""
    return rearrange(sequence[0, :, 0], "K -> 1 K 1").expand(num_rows, -1, -1)
