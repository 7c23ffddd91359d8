"""Runtimes: packed gives the logits of eager, and a row's bits are its own."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from descant.generation.batch_invariance import PREFILL_STEPS
from descant.generation.runtimes import EagerRuntime, PackedCpuRuntime, Runtime, runtime_for
from descant.generation.runtimes.packed_linears import PackedLinears
from descant.lm import LMConfig, MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.quantize import dequantize_rows, quantize_rows
from descant.nn.transformer import TransformerConfig

RELEASED = TransformerConfig(width=64, num_heads=4, num_layers=2)
MODELS = {
    "released": RELEASED,
    "one head": replace(RELEASED, num_heads=1),
    "narrow heads": replace(RELEASED, width=16, qk_norm=True),
    "heads of no power of two": replace(RELEASED, width=48),
    "qk_norm": replace(RELEASED, qk_norm=True),
    "rotary": replace(RELEASED, positions="rotary"),
    "residual_scale": replace(RELEASED, residual_scale=True),
    "all new": replace(RELEASED, qk_norm=True, positions="rotary", residual_scale=True),
    "no cross-attention": replace(RELEASED, has_cross_attention=False, qk_norm=True),
}
TOLERANCES = {torch.float32: 2e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}
NUM_STEPS = 22


def lively(transformer: TransformerConfig, dtype: torch.dtype = torch.float32, is_int8: bool = False) -> MusicLM:
    """A model whose every parameter matters."""
    torch.manual_seed(0)
    lm = MusicLM(LMConfig(num_codebooks=3, codebook_size=11, transformer=transformer)).eval().requires_grad_(False)
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
        if is_int8 and parameter.ndim == 2:
            parameter.copy_(dequantize_rows(*quantize_rows(parameter)))
    return lm.to(dtype)


def conditions(lm: MusicLM, num_rows: int, has_prefix: bool) -> LMInputs:
    """Every condition that the model takes; the second row's text is the null condition."""
    transformer = lm.config.transformer
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return torch.randn(num_rows, *shape, transformer.width, generator=generator)

    mask = torch.arange(7) < torch.tensor([5, 0, 7, 1, 2, 3, 4, 6])[:num_rows, None]
    inputs = LMInputs(sum=random(NUM_STEPS), output=random(1), prefix=random(3) if has_prefix else None)
    if transformer.has_cross_attention:
        inputs = replace(inputs, cross=random(7), cross_mask=mask)
    return inputs.to(torch.device("cpu"), lm.norm.weight.dtype)


@torch.inference_mode()
def logits_of(
    runtime: Runtime, sequence: Tensor, inputs: LMInputs, prompt_steps: int, max_steps: int = NUM_STEPS
) -> Tensor:
    """After the prompt, and after each step that follows it."""
    session = runtime.start(inputs, len(sequence), max_steps)
    later = [sequence[:, :, step : step + 1] for step in range(prompt_steps, sequence.shape[-1])]
    return torch.stack([session.prefill(sequence[:, :, :prompt_steps]), *map(session.step, later)], dim=2)


def sequence_of(num_rows: int, num_steps: int = NUM_STEPS) -> Tensor:
    return torch.randint(0, 12, (num_rows, 3, num_steps), generator=torch.Generator().manual_seed(2))


def assert_packed_gives_the_logits_of_eager(
    lm: MusicLM, num_rows: int = 4, prompt_steps: int = 18, has_prefix: bool = False, max_steps: int = NUM_STEPS
) -> None:
    inputs, sequence = conditions(lm, num_rows, has_prefix), sequence_of(num_rows)
    packed, eager = (
        logits_of(runtime(lm), sequence, inputs, prompt_steps, max_steps)
        for runtime in (PackedCpuRuntime, EagerRuntime)
    )
    tolerance = TOLERANCES[lm.norm.weight.dtype]
    assert packed.dtype == eager.dtype == lm.norm.weight.dtype
    torch.testing.assert_close(packed, eager, rtol=0, atol=tolerance * float(eager.abs().max()))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_packed_gives_the_logits_of_eager(model, dtype):
    assert_packed_gives_the_logits_of_eager(lively(MODELS[model], dtype))


@pytest.mark.parametrize("has_prefix", [False, True])
@pytest.mark.parametrize("prompt_steps", [1, 2, 16, 17, 22])
@pytest.mark.parametrize("model", ["all new", "no cross-attention"])
def test_packed_gives_the_logits_of_eager_after_every_prompt(model, prompt_steps, has_prefix):
    assert_packed_gives_the_logits_of_eager(lively(MODELS[model]), prompt_steps=prompt_steps, has_prefix=has_prefix)


@pytest.mark.parametrize("num_rows", [1, 2, 8])
@pytest.mark.parametrize("max_steps", [22, 23, 40])
def test_packed_gives_the_logits_of_eager_in_every_batch_and_cache(num_rows, max_steps):
    assert_packed_gives_the_logits_of_eager(lively(MODELS["all new"]), num_rows, max_steps=max_steps)


def test_packed_gives_the_logits_of_eager_with_weights_stored_in_int8():
    assert_packed_gives_the_logits_of_eager(lively(MODELS["all new"], is_int8=True))


@pytest.mark.parametrize("runtime", [EagerRuntime, PackedCpuRuntime])
@pytest.mark.parametrize("has_prefix", [False, True])
@torch.inference_mode()
def test_a_runtime_gives_the_logits_of_one_forward_pass(runtime, has_prefix):
    lm, sequence = lively(MODELS["all new"]), sequence_of(3)
    inputs = conditions(lm, 3, has_prefix)
    whole = lm(sequence, inputs)
    torch.testing.assert_close(logits_of(runtime(lm), sequence, inputs, 17), whole[:, :, 16:], rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("model", ["all new", "no cross-attention", "heads of no power of two"])
@pytest.mark.parametrize("prompt_steps", [1, 18])
def test_a_row_has_the_same_bits_in_any_batch(model, dtype, prompt_steps):
    lm = lively(MODELS[model], dtype)
    inputs, sequence, runtime = conditions(lm, 8, has_prefix=True), sequence_of(8), PackedCpuRuntime(lm)
    whole = logits_of(runtime, sequence, inputs, prompt_steps)
    for rows in ([3, 1], [1, 6, 2, 0], [7, 6, 5, 4, 3, 2, 1, 0]):
        index = torch.tensor(rows)
        assert torch.equal(logits_of(runtime, sequence[index], inputs.rows(index), prompt_steps), whole[index]), rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("model", ["all new", "narrow heads", "heads of no power of two"])
def test_a_row_has_the_same_bits_in_a_cache_of_any_length(model, dtype):
    """A request may share its batch with a longer one, whose steps the cache must hold too."""
    lm = lively(MODELS[model], dtype)
    inputs, sequence, runtime = conditions(lm, 4, has_prefix=True), sequence_of(4), PackedCpuRuntime(lm)
    expected = logits_of(runtime, sequence, inputs, 18)
    for max_steps in (23, 24, 25, 26, 39, 64, 101):
        assert torch.equal(logits_of(runtime, sequence, inputs, 18, max_steps), expected), max_steps
        # Not every processor rounds differently where keys are placed differently.
        assert runtime.start(inputs, 4, max_steps).cache.layers[0].keys.shape[2] % 4 == 0


@pytest.mark.parametrize("runtime", [EagerRuntime, PackedCpuRuntime])
@torch.inference_mode()
def test_rows_that_stay_go_on_as_before(runtime):
    lm, sequence, keep = lively(MODELS["all new"]), sequence_of(4), torch.tensor([2, 0])
    inputs = conditions(lm, 4, has_prefix=True)
    expected = logits_of(runtime(lm), sequence, inputs, 5)[keep]
    session = runtime(lm).start(inputs, 4, NUM_STEPS)
    session.prefill(sequence[:, :, :5])
    session.keep_rows(keep)
    rest = [session.step(step) for step in sequence[keep, :, 5:].split(1, dim=-1)]
    torch.testing.assert_close(torch.stack(rest, dim=2), expected[:, :, 1:], rtol=0, atol=1e-5)


def test_weights_are_packed_once_for_all_requests(monkeypatch):
    made = []
    build = PackedLinears._product
    monkeypatch.setattr(PackedLinears, "_product", lambda *args: made.append(args[1]) or build(*args))
    lm = lively(MODELS["released"])
    runtime = PackedCpuRuntime(lm)
    first, second = (logits_of(runtime, sequence_of(2), conditions(lm, 2, False), 3) for _ in range(2))
    assert torch.equal(first, second)
    assert len(made) == len(set(made)) == 2 * 6 + 3  # four products of attention, two of the MLP; the heads


def test_another_request_sees_weights_that_were_trained_meanwhile():
    lm, sequence = lively(MODELS["all new"]), sequence_of(2)
    inputs, runtime = conditions(lm, 2, False), PackedCpuRuntime(lm)
    before = logits_of(runtime, sequence, inputs, 3)
    lm.requires_grad_(True)
    optimizer = torch.optim.AdamW(lm.parameters(), lr=0.1, fused=True)
    lm(sequence).sum().backward()
    optimizer.step()
    after = logits_of(runtime, sequence, inputs, 3)
    assert not torch.allclose(after, before)
    torch.testing.assert_close(after, logits_of(EagerRuntime(lm), sequence, inputs, 3), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("prompt_steps", "expected"), [(1, [1]), (16, [16]), (35, [16, 16, 1, 1, 1])])
def test_a_prompt_is_read_in_chunks_of_one_length(prompt_steps, expected):
    """At once, the logits of a long prompt would take hundreds of megabytes."""
    assert PREFILL_STEPS == 16, "recorded requests would get other codes"
    lm, lengths = lively(MODELS["released"]), []
    lm.register_forward_hook(lambda _, arguments, __: lengths.append(arguments[0].shape[-1]))
    session = EagerRuntime(lm).start(LMInputs(), 1, prompt_steps)
    session.prefill(sequence_of(1, prompt_steps))
    assert lengths == expected


def test_the_runtime_is_that_of_the_models_device():
    lm = lively(MODELS["released"])
    assert isinstance(runtime_for(lm), PackedCpuRuntime)
    assert isinstance(runtime_for(lm.to("meta")), EagerRuntime)
