"""The native runtime: the logits of the model's own forward pass, and a sequence's bits are its own."""

import copy
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from descant.checkpoints.native import save_model
from descant.compiled.code import Target
from descant.errors import CheckpointError, InvalidRequest
from descant.generation.engine import Engine
from descant.generation.request import Request
from descant.generation.runtimes.native import NativeRuntime, NativeSession
from descant.generation.runtimes.native import session as session_module
from descant.generation.runtimes.native.buffers import MAX_TOKENS
from descant.generation.runtimes.native.cache import BLOCK, cache_format_for
from descant.generation.runtimes.native.packing import ROUNDED
from descant.generation.runtimes.native.program import products_library
from descant.generation.runtimes.native.team_size import TeamSize
from descant.lm import LMConfig, MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.quantize import dequantize_rows, quantize_rows
from descant.nn.transformer import TransformerConfig
from tests.processors import FLOAT_TARGETS, each_target

RELEASED = TransformerConfig(width=64, num_heads=4, num_layers=2)
MODELS = {
    "released": RELEASED,
    "one head": replace(RELEASED, num_heads=1),
    "narrow heads": replace(RELEASED, width=16, qk_norm=True),
    "heads of no power of two": replace(RELEASED, width=24, num_heads=2, positions="rotary"),
    "a narrow MLP": replace(RELEASED, mlp_scale=1),
    "residual_scale": replace(RELEASED, residual_scale=True),
    "all new": replace(RELEASED, qk_norm=True, positions="rotary", residual_scale=True),
    "no cross-attention": replace(RELEASED, has_cross_attention=False, qk_norm=True),
}
NUM_ROWS, NUM_STEPS = 3, BLOCK + 12
FORMAT_ERRORS = {"fp16": 2e-3, "bf16": 2e-2, "int8": 5e-2, "int4": 0.5}


def lively(transformer: TransformerConfig = RELEASED, seed: int = 0) -> MusicLM:
    """A model whose every parameter matters."""
    torch.manual_seed(seed)
    lm = MusicLM(LMConfig(num_codebooks=3, codebook_size=11, transformer=transformer)).eval().requires_grad_(False)
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return lm


def conditions(lm: MusicLM) -> LMInputs:
    """Every condition that the model takes; the second row's text is the null condition."""
    transformer, generator = lm.config.transformer, torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(NUM_ROWS, *shape, transformer.width, generator=generator)

    inputs = LMInputs(sum=random(NUM_STEPS), output=random(1), prefix=random(3))
    if transformer.has_cross_attention:
        # More positions than are read at once.
        length = MAX_TOKENS + 5
        mask = torch.arange(length) < torch.tensor([5, 0, length])[:, None]
        inputs = replace(inputs, cross=random(length), cross_mask=mask)
    return inputs


def sequence_of() -> Tensor:
    return torch.randint(0, 12, (NUM_ROWS, 3, NUM_STEPS), generator=torch.Generator().manual_seed(2))


@torch.inference_mode()
def logits_of(session: NativeSession, inputs: LMInputs, sequence: Tensor, num_known: int) -> Tensor:
    """The logits after the known steps and after each later one [B K S V]."""
    slots, first = session.join(inputs, sequence[:, :, :num_known], NUM_STEPS)
    later = [session.step(slots, sequence[:, :, step]) for step in range(num_known, NUM_STEPS)]
    session.leave(slots)
    return torch.stack([first, *later], dim=2)


def row(inputs: LMInputs, number: int) -> LMInputs:
    return inputs.rows(torch.tensor([number]))


@pytest.mark.parametrize("num_known", [1, 17, NUM_STEPS - 1])
@pytest.mark.parametrize("transformer", MODELS.values(), ids=MODELS)
def test_logits_are_those_of_the_models_own_forward_pass(transformer, num_known):
    lm = lively(transformer)
    inputs, sequence = conditions(lm), sequence_of()
    with torch.inference_mode():
        expected = lm(sequence, inputs)[:, :, num_known - 1 :]
    found = logits_of(NativeRuntime(lm).start(), inputs, sequence, num_known)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_without_conditions_too():
    lm, sequence = lively(), sequence_of()
    with torch.inference_mode():
        expected = lm(sequence)
    found = logits_of(NativeRuntime(lm).start(), LMInputs(), sequence, 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("format", FORMAT_ERRORS)
def test_formats_change_logits_by_their_rounding_only(format):
    lm = lively()
    inputs, sequence = conditions(lm), sequence_of()
    runtimes = [NativeRuntime(copy.deepcopy(lm), kind) for kind in (None, format)]
    exact, rounded = (logits_of(runtime.start(), inputs, sequence, 9) for runtime in runtimes)
    error = (rounded - exact).norm() / exact.norm()
    assert 0 < error < FORMAT_ERRORS[format]


@pytest.mark.parametrize(("stored", "most"), [("int8", 1e-4), ("fp16", 0.0)])
def test_weights_stored_in_int8_or_float16_are_kept_so(stored, most, monkeypatch):
    """Next to float16 nothing is rounded, next to int8 only activations, to 16 bits."""
    monkeypatch.setattr(session_module, "cache_format_for", lambda _: "fp32")
    round_weight = {"int8": lambda weight: dequantize_rows(*quantize_rows(weight)), "fp16": Tensor.half}[stored]
    lm = lively()
    for parameter in lm.parameters():
        if parameter.ndim == 2:
            parameter.copy_(round_weight(parameter))
    inputs, sequence = conditions(lm), sequence_of()
    runtime = NativeRuntime(lm)
    assert runtime.weights.formats == {stored}
    found, expected = (
        logits_of(kind.start(), inputs, sequence, 9) for kind in (runtime, NativeRuntime(copy.deepcopy(lm), "fp32"))
    )
    assert (found - expected).norm() <= most * expected.norm()


@pytest.mark.parametrize("transformer", [MODELS["released"], MODELS["all new"]], ids=["released", "all new"])
def test_a_cache_in_int8_changes_logits_far_less_than_weights_in_int8(transformer, monkeypatch):
    """By 0.035 of what the weights do, in the mean of sixteen models; one bit less would double a rounding error."""
    shares = []
    for seed in range(4):
        lm = lively(transformer, seed)
        inputs, sequence = conditions(lm), sequence_of()
        monkeypatch.setattr(session_module, "cache_format_for", lambda _: "fp32")
        exact = logits_of(NativeRuntime(lm).start(), inputs, sequence, 9)
        weights_only = logits_of(NativeRuntime(copy.deepcopy(lm), "int8").start(), inputs, sequence, 9)
        monkeypatch.setattr(session_module, "cache_format_for", lambda _: "int8")
        cache_only = logits_of(NativeRuntime(lm).start(), inputs, sequence, 9)
        of_weights, of_cache = ((found - exact).norm() / exact.norm() for found in (weights_only, cache_only))
        shares.append(float(of_cache / of_weights))
    assert 0 < sum(shares) / len(shares) < 0.05


def test_only_rounded_weights_have_a_rounded_cache():
    assert cache_format_for({"int8"}) == cache_format_for({"w4a8", "w8a8"}) == "int8"
    for format in ("fp32", "fp16", "bf16"):
        assert cache_format_for({format}) == cache_format_for({format, "int8"}) == "fp32"


def test_code_stays_in_memory_as_long_as_a_session_that_runs_it():
    """Threads that begin at once may each compile it; the cache keeps only that of one. The other crashed."""
    lm = lively()
    session = NativeRuntime(lm).start()
    session.join(conditions(lm), sequence_of()[:, :, :1], max_steps=4)
    library = weakref.ref(products_library("fp32", Target.host()))
    products_library.cache_clear()
    gc.collect()
    assert library() is not None


def test_too_few_vectors_to_be_added_are_refused():
    lm, sequence = lively(), sequence_of()
    short = LMInputs(sum=torch.zeros(NUM_ROWS, 20, RELEASED.width), prefix=torch.zeros(NUM_ROWS, 2, RELEASED.width))
    for num_known in (1, 20, 21):
        with pytest.raises(InvalidRequest, match="fewer steps than the sequence"):
            logits_of(NativeRuntime(lm).start(), short, sequence, num_known)


@pytest.mark.parametrize("format", ROUNDED)
@pytest.mark.parametrize("transformer", [MODELS["released"], MODELS["all new"]], ids=["released", "all new"])
def test_a_sequence_has_the_same_bits_alone_together_late_and_read_in_any_parts(transformer, format):
    lm = lively(transformer)
    inputs, sequence = conditions(lm), sequence_of()
    runtime = NativeRuntime(copy.deepcopy(lm), format)
    together = logits_of(runtime.start(), inputs, sequence, 1)
    session = runtime.start()
    for number in reversed(range(NUM_ROWS)):
        alone = logits_of(session, row(inputs, number), sequence[[number]], 1)
        assert torch.equal(alone[0], together[number])
    for num_known in (2, MAX_TOKENS, NUM_STEPS):
        in_parts = logits_of(session, inputs, sequence, num_known)
        assert torch.equal(in_parts, together[:, :, num_known - 1 :])


@torch.inference_mode()
def test_sequences_at_different_steps_leave_each_other_alone():
    lm = lively()
    inputs, sequence = conditions(lm), sequence_of()
    runtime = NativeRuntime(lm)
    expected = logits_of(runtime.start(), inputs, sequence, 1)
    session = runtime.start()
    [first], _ = session.join(row(inputs, 0), sequence[:1, :, :4], NUM_STEPS)
    [gone], _ = session.join(row(inputs, 1), sequence[1:2, :, :9], NUM_STEPS)
    session.step([gone, first], sequence[[1, 0], :, [9, 4]])
    session.leave([gone])
    [late], _ = session.join(row(inputs, 2), sequence[2:, :, :2], NUM_STEPS)
    assert late == gone, "a slot that was left is used again"
    for ahead in range(5, NUM_STEPS):
        found = session.step([late, first], sequence[[2, 0], :, [ahead - 3, ahead]])
        assert torch.equal(found, expected[[2, 0], :, [ahead - 3, ahead]])


@torch.inference_mode()
def test_any_number_of_threads_gives_the_same_bits():
    lm = lively()
    inputs, sequence = conditions(lm), sequence_of()
    found = []
    for num_threads in (1, 2, 5):
        session = NativeRuntime(lm).start()
        session.team = TeamSize(num_threads)
        found.append(logits_of(session, inputs, sequence, 20))
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@torch.inference_mode()
def test_the_number_of_threads_may_change_at_every_step(monkeypatch):
    lm = lively()
    inputs, sequence = conditions(lm), sequence_of()
    expected = logits_of(NativeRuntime(lm).start(), inputs, sequence, 5)
    session, numbers = NativeRuntime(lm).start(), []

    @contextmanager
    def another_number(_: int) -> Iterator[None]:
        session.team.num_threads = (1, 4, 2, 3)[len(numbers) % 4]
        numbers.append(session.team.num_threads)
        yield

    monkeypatch.setattr(session.team, "step", another_number)
    assert torch.equal(logits_of(session, inputs, sequence, 5), expected)
    assert {1, 2, 3, 4} == set(numbers)


@pytest.mark.parametrize("target", each_target(*FLOAT_TARGETS))
@pytest.mark.parametrize("format", ROUNDED)
def test_all_processors_give_the_same_bits(format, target):
    lm = lively(MODELS["all new"])
    inputs, sequence = conditions(lm), sequence_of()
    expected = logits_of(NativeRuntime(copy.deepcopy(lm), format).start(), inputs, sequence, 30)
    found = logits_of(NativeRuntime(copy.deepcopy(lm), format, target).start(), inputs, sequence, 30)
    assert torch.equal(found, expected)


def test_more_sequences_than_are_read_at_once():
    lm = lively()
    inputs, sequence = conditions(lm), sequence_of()
    expected = logits_of(NativeRuntime(lm).start(), inputs, sequence, NUM_STEPS - 1)
    rows = torch.arange(MAX_TOKENS + 7) % NUM_ROWS
    found = logits_of(NativeRuntime(lm).start(), inputs.rows(rows), sequence[rows], NUM_STEPS - 1)
    assert torch.equal(found, expected[rows])


def test_weights_that_change_are_packed_again():
    lm = lively()
    runtime, inputs, sequence = NativeRuntime(lm), conditions(lm), sequence_of()
    logits_of(runtime.start(), inputs, sequence, 9)
    packed = runtime.weights
    assert runtime.weights is packed
    lm.requires_grad_(True)
    optimizer = torch.optim.AdamW(lm.parameters(), lr=0.1, fused=True)
    lm(sequence).square().sum().backward()
    optimizer.step()
    lm.requires_grad_(False)
    changed = logits_of(runtime.start(), inputs, sequence, 9)
    assert torch.equal(changed, logits_of(NativeRuntime(lm).start(), inputs, sequence, 9))
    assert runtime.weights is not packed


@pytest.mark.parametrize("name", ["self_attention.qkv", "cross_attention.qkv", "mlp.down"])
def test_weights_that_are_not_numbers_give_logits_that_are_not(name):
    lm = lively()
    lm.get_parameter(f"blocks.1.{name}.weight")[:, 0] = torch.nan
    assert not logits_of(NativeRuntime(lm).start(), conditions(lm), sequence_of(), 9)[0].isfinite().any()


def test_a_model_in_a_rounded_format_keeps_no_matrices_and_is_not_stored(tiny_model, tmp_path):
    model = copy.deepcopy(tiny_model)
    whole = Engine(model).generate([Request(text="piano", duration_s=0.5, seed=1)])[0]
    engine = Engine(model, weight_format="int8")
    assert all(parameter.is_meta == (parameter.ndim == 2) for parameter in model.lm.parameters())
    assert engine.runtime.bytes_per_step() < 0.3 * Engine(tiny_model).runtime.bytes_per_step()
    assert engine.generate([Request(text="piano", duration_s=0.5, seed=1)])[0].codes.shape == whole.codes.shape
    with pytest.raises(CheckpointError, match="load it in fp32"):
        save_model(model, tmp_path / "model")
