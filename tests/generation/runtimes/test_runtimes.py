"""Runtimes: the logits of one forward pass, whatever else a session decodes."""

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from descant.generation.runtimes import EagerRuntime, NativeRuntime, Session, runtime_for
from descant.generation.runtimes.eager import PREFILL_STEPS
from descant.lm import LMConfig, MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.transformer import TransformerConfig

RELEASED = TransformerConfig(width=64, num_heads=4, num_layers=2)
MODELS = {
    "released": RELEASED,
    "one head": replace(RELEASED, num_heads=1),
    "heads of no power of two": replace(RELEASED, width=48),
    "all new": replace(RELEASED, qk_norm=True, positions="rotary", residual_scale=True),
    "no cross-attention": replace(RELEASED, has_cross_attention=False, qk_norm=True),
}
RUNTIMES = [EagerRuntime, NativeRuntime]
NUM_STEPS = 22


def lively(transformer: TransformerConfig, dtype: torch.dtype = torch.float32) -> MusicLM:
    """A model whose every parameter matters."""
    torch.manual_seed(0)
    lm = MusicLM(LMConfig(num_codebooks=3, codebook_size=11, transformer=transformer)).eval().requires_grad_(False)
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return lm.to(dtype)


def conditions(lm: MusicLM, num_rows: int, has_prefix: bool) -> LMInputs:
    """Every condition that the model takes; the second row's text is the null condition."""
    transformer = lm.config.transformer
    generator = torch.Generator().manual_seed(1)

    def random_values(*shape: int) -> Tensor:
        return torch.randn(num_rows, *shape, transformer.width, generator=generator)

    mask = torch.arange(7) < torch.tensor([5, 0, 7, 1, 2, 3, 4, 6])[:num_rows, None]
    inputs = LMInputs(
        sum=random_values(NUM_STEPS), output=random_values(1), prefix=random_values(3) if has_prefix else None
    )
    if transformer.has_cross_attention:
        inputs = replace(inputs, cross=random_values(7), cross_mask=mask)
    return inputs.to(torch.device("cpu"), lm.norm.weight.dtype)


def sequence_of(num_rows: int, num_steps: int = NUM_STEPS) -> Tensor:
    return torch.randint(0, 12, (num_rows, 3, num_steps), generator=torch.Generator().manual_seed(2))


def logits_of(session: Session, sequence: Tensor, inputs: LMInputs, prompt_steps: int) -> Tensor:
    """After the prompt, and after each step that follows it."""
    slots, logits = session.join(inputs, sequence[:, :, :prompt_steps], sequence.shape[-1])
    later = [session.step(slots, codes) for codes in sequence[:, :, prompt_steps:].unbind(-1)]
    session.leave(slots)
    return torch.stack([logits, *later], dim=2)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("has_prefix", [False, True])
@pytest.mark.parametrize("prompt_steps", [1, 2, 16, 17, 22])
@pytest.mark.parametrize("model", MODELS)
@torch.inference_mode()
def test_a_runtime_gives_the_logits_of_one_forward_pass(runtime, model, prompt_steps, has_prefix):
    lm, sequence = lively(MODELS[model]), sequence_of(3)
    inputs = conditions(lm, 3, has_prefix)
    whole = lm(sequence, inputs)
    ours = logits_of(runtime(lm).start(), sequence, inputs, prompt_steps)
    torch.testing.assert_close(ours, whole[:, :, prompt_steps - 1 :], rtol=0, atol=1e-4)


class Piece:
    """One sequence of a random schedule."""

    def __init__(self, session: Session, inputs: LMInputs, sequence: Tensor, prompt_steps: int) -> None:
        self.sequence, self.session, self.step = sequence, session, prompt_steps
        (self.slot,), logits = session.join(inputs, sequence[:, :, :prompt_steps], sequence.shape[-1])
        self.logits = [logits]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("model", ["all new", "no cross-attention", "heads of no power of two"])
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("seed", range(3))
@torch.inference_mode()
def test_a_sequence_has_the_same_bits_whatever_others_join_and_leave(runtime, model, dtype, seed):
    lm, draw = lively(MODELS[model], dtype), random.Random(seed)
    inputs, sequence = conditions(lm, 8, has_prefix=True), sequence_of(8)
    starts = [draw.choice([1, 2, 16, 18]) for _ in range(8)]
    of_row = [(inputs.rows(index), sequence[index]) for index in torch.arange(8).split(1)]
    alone = [
        logits_of(runtime(lm).start(), codes, row, start) for (row, codes), start in zip(of_row, starts, strict=True)
    ]
    session, waiting, here = runtime(lm).start(), list(range(8)), {}
    draw.shuffle(waiting)
    while waiting or here:
        if waiting and (not here or draw.random() < 0.3):
            index = waiting.pop()
            here[index] = Piece(session, *of_row[index], starts[index])
        elif draw.random() < 0.05:
            (left,) = draw.sample(sorted(here), 1)
            session.leave([here.pop(left).slot])
        else:
            chosen = draw.sample(sorted(here), draw.randint(1, len(here)))
            chosen = [index for index in chosen if here[index].step < NUM_STEPS] or chosen[:0]
            if chosen:
                codes = torch.cat([here[index].sequence[:, :, here[index].step] for index in chosen])
                logits = session.step([here[index].slot for index in chosen], codes)
                for index, row in zip(chosen, logits.split(1), strict=True):
                    here[index].logits.append(row)
                    here[index].step += 1
        for index in [index for index in here if here[index].step == NUM_STEPS]:
            piece = here.pop(index)
            assert torch.equal(torch.stack(piece.logits, dim=2), alone[index]), index
            session.leave([piece.slot])


@pytest.mark.parametrize("runtime", RUNTIMES)
@torch.inference_mode()
def test_two_sequences_never_share_a_slot(runtime):
    lm = lively(MODELS["released"])
    session, inputs, sequence = runtime(lm).start(), conditions(lm, 3, False), sequence_of(3, 2)
    first, _ = session.join(inputs, sequence, NUM_STEPS)
    assert len(set(first)) == 3
    session.leave(first[1:2])
    second, _ = session.join(inputs, sequence, NUM_STEPS)
    here = [first[0], first[2], *second]
    assert len(set(here)) == 5


@pytest.mark.parametrize(("prompt_steps", "expected"), [(1, [1]), (16, [16]), (35, [16, 16, 1, 1, 1])])
@torch.inference_mode()
def test_a_prompt_is_read_in_chunks_of_one_length(prompt_steps, expected):
    """At once, the logits of a long prompt would take hundreds of megabytes."""
    assert PREFILL_STEPS == 16, "recorded requests would get other codes"
    lm, lengths = lively(MODELS["released"]), []
    lm.register_forward_hook(lambda _, arguments, __: lengths.append(arguments[0].shape[-1]))
    EagerRuntime(lm).start().join(LMInputs(), sequence_of(1, prompt_steps), prompt_steps)
    assert lengths == expected


def test_the_runtime_is_that_of_the_model():
    lm = lively(MODELS["released"])
    assert isinstance(runtime_for(lm), NativeRuntime)
    assert runtime_for(lm).lm is lm
