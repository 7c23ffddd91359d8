"""On a GPU: recorded steps have the bits of plain ones, in every precision."""

import copy

import pytest
import torch
from torch import Tensor

from descant.generation.runtimes import StaticRuntime, runtime_for
from descant.generation.runtimes.int8_linear import store_in_int8
from descant.lm import LMConfig, MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.transformer import TransformerConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
GPU = torch.device("cuda")
NUM_STEPS = 300  # passes from the first length to the second


def make_lm(dtype: torch.dtype, is_int8: bool = False, **changes: object) -> MusicLM:
    torch.manual_seed(0)
    transformer = TransformerConfig(**{"width": 256, "num_heads": 4, "num_layers": 3, **changes})
    lm = MusicLM(LMConfig(codebook_size=64, transformer=transformer)).eval().requires_grad_(False).to(GPU, dtype)
    if is_int8:
        store_in_int8(lm)
    return lm


def inputs_of(lm: MusicLM, num_rows: int) -> LMInputs:
    width = lm.config.transformer.width
    inputs = LMInputs(
        cross=torch.randn(num_rows, 5, width),
        cross_mask=torch.arange(5) < torch.arange(num_rows)[:, None],
        prefix=torch.randn(num_rows, 3, width),
        sum=torch.randn(num_rows, NUM_STEPS, width),
        output=torch.randn(num_rows, 1, width),
    )
    return inputs.to(GPU, lm.norm.weight.dtype)


def sequence_of(num_rows: int) -> Tensor:
    return torch.randint(0, 65, (num_rows, 4, NUM_STEPS), generator=torch.Generator().manual_seed(1)).to(GPU)


@torch.inference_mode()
def logits_of(runtime: StaticRuntime, sequence: Tensor, inputs: LMInputs) -> Tensor:
    session = runtime.start()
    slots, first = session.join(inputs, sequence[:, :, :2], NUM_STEPS)
    later = [session.step(slots, sequence[:, :, step]) for step in range(2, NUM_STEPS)]
    session.leave(slots)
    return torch.stack([first, *later], dim=2)


def test_the_runtime_of_a_gpu_has_static_memory():
    assert isinstance(runtime_for(make_lm(torch.float16)), StaticRuntime)


@pytest.mark.parametrize("is_int8", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("num_rows", [2, 16])
def test_recorded_steps_have_the_bits_of_plain_ones(num_rows, dtype, is_int8):
    lm = make_lm(dtype, is_int8, qk_norm=True, positions="rotary", residual_scale=True)
    inputs, sequence, runtime = inputs_of(lm, num_rows), sequence_of(num_rows), StaticRuntime(lm)
    plain = logits_of(StaticRuntime(lm, is_captured=False), sequence, inputs)
    assert torch.equal(logits_of(runtime, sequence, inputs), plain)
    assert torch.equal(logits_of(runtime, sequence, inputs), plain), "the graphs of the session before"


@pytest.mark.parametrize("uses_triton", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-4), (torch.float16, 1e-2), (torch.bfloat16, 8e-2)])
def test_steps_give_the_logits_of_one_float32_pass(dtype, tolerance, uses_triton):
    lm = make_lm(torch.float32)
    inputs, sequence = inputs_of(lm, 2), sequence_of(2)
    expected = lm(sequence, inputs)[:, :, 1:]
    found = logits_of(
        StaticRuntime(copy.deepcopy(lm).to(dtype), uses_triton=uses_triton), sequence, inputs.to(GPU, dtype)
    )
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@torch.inference_mode()
def test_eight_sequences_that_join_at_different_steps_give_the_logits_of_one_pass():
    lm = make_lm(torch.float32)
    inputs, sequence = inputs_of(lm, 8), sequence_of(8)
    expected = lm(sequence, inputs)
    session, slots = StaticRuntime(lm).start(), []
    for step in range(60):
        if step % 5 == 0 and len(slots) < 8:
            row = torch.tensor([len(slots)], device=GPU)
            joined, logits = session.join(inputs.rows(row), sequence[row, :, :1], NUM_STEPS)
            torch.testing.assert_close(logits, expected[row, :, 0], rtol=0, atol=1e-4)
            slots += joined
        places = [1 + step - 5 * row for row in range(len(slots))]
        codes = torch.stack([sequence[row, :, place] for row, place in enumerate(places)])
        for row, logits in enumerate(session.step(slots, codes)):
            torch.testing.assert_close(logits, expected[row, :, places[row]], rtol=0, atol=1e-4)
