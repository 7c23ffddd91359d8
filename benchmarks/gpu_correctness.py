"""Checks of `gpu_check.py`: kernels, recorded steps and precisions against the model's own forward pass."""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from gpu_setup import (
    GUIDANCE,
    PRECISIONS,
    Finding,
    Setup,
    best_ms,
    random_codes,
    text_inputs,
    to_precision,
    untrained_lm,
)
from torch import Tensor
from torch.nn import functional as F

from descant.generation.guidance import guide
from descant.generation.runtimes.cuda_graphs import GraphCache
from descant.generation.runtimes.int8_linear import Int8Linear, has_triton
from descant.generation.runtimes.static import StaticRuntime
from descant.lm import MusicLM
from descant.nn.inputs import LMInputs
from descant.nn.quantize import dequantize_rows, quantize_rows

CACHE_BYTES = 256 << 20
"""What a timing reads takes more than this, so that nothing is in the GPU's cache when it is read again."""


def int8_products(setup: Setup) -> Iterator[Finding]:
    """The product with int8 weights: its error, and its time against torch's own and the float16 product."""
    shapes = [(64, 96)] if setup.is_toy else [(1_024, 1_024), (1_024, 4_096), (4_096, 1_024), (2_048, 8_192)]
    for inputs, outputs in shapes:
        numbers, scale = quantize_rows(torch.randn(outputs, inputs, device=setup.device))
        exact = dequantize_rows(numbers, scale).double()
        for precision in ("fp32", "fp16", "bf16"):
            dtype = PRECISIONS[precision]
            rows = torch.randn(5, inputs, device=setup.device).to(dtype)
            expected = rows.double() @ exact.T
            error = float((Int8Linear(numbers, scale, dtype)(rows) - expected).abs().max() / expected.abs().max())
            ok = error < 4 * torch.finfo(dtype).eps
            yield {"what": "int8 product", "shape": [inputs, outputs], "precision": precision, "error": error, "ok": ok}
        copies = 1 if setup.is_toy else -(-CACHE_BYTES // numbers.numel())
        layers = [Int8Linear(numbers.clone(), scale, torch.float16) for _ in range(copies)]
        for num_rows in (2, 16):
            yield {
                "what": "int8 product, time",
                "shape": [inputs, outputs],
                "rows": num_rows,
                "uses_triton": setup.device.type == "cuda" and has_triton(),
                **_product_times(setup, layers, torch.randn(num_rows, inputs, device=setup.device).half()),
            }


def _product_times(setup: Setup, layers: list[Int8Linear], rows: Tensor) -> Finding:
    """Microseconds with our integers, with torch's product of integers or why there is none, and in float16."""
    scale = layers[0].scale.to(rows.dtype)
    halves = [layer.weight for layer in layers[: -(-len(layers) // 2)]]
    times: Finding = {
        "int8_us": _us_each(setup, lambda layer: layer(rows), layers),
        "fp16_us": _us_each(setup, lambda weight: F.linear(rows, weight), halves),
    }
    if rows.is_cuda and has_triton():
        from descant.generation.runtimes.triton_int8 import multiply

        # The same kernel with float16 weights, to see whether it would serve them better than cuBLAS.
        ones = torch.ones_like(layers[0].scale)
        times["fp16_kernel_us"] = _us_each(setup, lambda weight: multiply(rows, weight, ones), halves)
    try:
        times["torch_int8_us"] = _us_each(
            setup, lambda layer: torch._weight_int8pack_mm(rows, layer.numbers, scale), layers
        )
    except (RuntimeError, NotImplementedError) as error:
        times["torch_int8"] = str(error).splitlines()[0][:120]
    return times


def attention(setup: Setup) -> Iterator[Finding]:
    """The kernel for attention to the cache: its error, and its time against PyTorch's attention with a mask."""
    if not (setup.device.type == "cuda" and has_triton()):
        yield {"what": "attention", "left_out": "Triton needs a GPU"}
        return
    for num_rows in (2, 16):
        for length in (256, 1_536):
            yield {"what": "attention", "rows": num_rows, "length": length, **_attention_of(setup, num_rows, length)}


def _attention_of(setup: Setup, num_rows: int, length: int) -> Finding:
    from descant.generation.runtimes.triton_attention import attend

    def random(*shape: int) -> Tensor:
        return torch.randn(num_rows, 16, *shape, device=setup.device).half()

    def masked(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(queries[:, :, None], keys, values, attn_mask=bias.to(keys))[:, :, 0]

    def ours(cache: tuple[Tensor, Tensor]) -> Tensor:
        return attend(queries, new_keys, new_values, *cache, last)

    last = torch.randint(length // 2, length, (num_rows,), device=setup.device)
    is_later = torch.arange(length, device=setup.device) > last[:, None, None, None]
    bias = torch.zeros(is_later.shape, device=setup.device).masked_fill(is_later, -torch.inf).half()
    copies = -(-CACHE_BYTES // (4 * num_rows * 16 * length * 64))
    queries, new_keys, new_values = (random(64) for _ in range(3))
    caches = [(random(length, 64), random(length, 64)) for _ in range(copies)]
    found = ours(caches[0])  # it has written the new ones
    exact = masked(queries.double(), *(tensor.double() for tensor in caches[0]))
    is_written = torch.equal(caches[0][0][torch.arange(num_rows, device=setup.device), :, last], new_keys)
    error = float((found - exact).abs().max())
    return {
        "error": error,
        "ok": is_written and error < 4e-3,
        "kernel_us": _us_each(setup, ours, caches),
        "sdpa_us": _us_each(setup, lambda cache: masked(queries, *cache), caches),
    }


def _us_each(setup: Setup, function: Callable[[Any], object], arguments: Sequence[Any]) -> float:
    """Microseconds of one call, all of them recorded in one graph."""
    graphs = GraphCache(setup.device)

    def work() -> None:
        for argument in arguments:
            function(argument)

    return 1_000 * best_ms(lambda: graphs.run("all", work), setup.device) / len(arguments)


def greedy_codes(setup: Setup) -> Iterator[Finding]:
    """In float32 the likeliest codes, with guidance, are those of the model's own cache; and recorded steps have the
    bits of plain ones."""
    lm = untrained_lm(setup.models["small"], setup.device)
    inputs, num_steps = text_inputs(lm, 1), round(50 * setup.audio_s)
    expected, margin = _greedy_eager(lm, inputs, num_steps)
    for uses_triton in (False, True) if setup.device.type == "cuda" and has_triton() else (False,):
        found = _greedy_static(StaticRuntime(lm, uses_triton=uses_triton), inputs, num_steps)
        is_equal = (found == expected).all(dim=0)
        first = num_steps if bool(is_equal.all()) else int((~is_equal).nonzero()[0])
        yield {
            "what": "greedy codes, static = eager",
            "uses_triton": uses_triton,
            "steps": num_steps,
            "first_difference": None if first == num_steps else first,
            "margin_there": None if first == num_steps else margin[first],
            "different_codes": int(found.unique().numel()),
            "ok": first == num_steps,
        }
        plain = _forced(StaticRuntime(lm, is_captured=False, uses_triton=uses_triton), inputs, min(num_steps, 100))
        recorded = _forced(StaticRuntime(lm, uses_triton=uses_triton), inputs, min(num_steps, 100))
        yield {"what": "recorded = plain, bits", "uses_triton": uses_triton, "ok": torch.equal(plain, recorded)}


@torch.inference_mode()
def _greedy_eager(lm: MusicLM, inputs: LMInputs, num_steps: int) -> tuple[Tensor, list[float]]:
    """The codes, [K S], and by how much the likeliest of each step was ahead, in its closest codebook."""
    cache = lm.new_cache(2, num_steps, inputs)
    codes, found, margins = (
        torch.full((1, lm.config.num_codebooks), lm.special_code, device=lm.norm.weight.device),
        [],
        [],
    )
    for _ in range(num_steps):
        logits = lm(codes[:, :, None].expand(2, -1, -1), inputs, cache)[:, :, -1]
        guided = _guided(logits)
        best = guided.topk(2, dim=-1).values
        margins.append((best[..., 0] - best[..., 1]).min())
        codes = guided.argmax(dim=-1)
        found.append(codes[0])
    return torch.stack(found, dim=1), torch.stack(margins).tolist()


@torch.inference_mode()
def _greedy_static(runtime: StaticRuntime, inputs: LMInputs, num_steps: int) -> Tensor:
    lm, session = runtime.lm, runtime.start()
    start = torch.full((2, lm.config.num_codebooks, 1), lm.special_code, device=lm.norm.weight.device)
    slots, logits = session.join(inputs, start, num_steps)
    found = [_guided(logits).argmax(dim=-1)[0]]
    for _ in range(num_steps - 1):
        found.append(_guided(session.step(slots, found[-1].expand(2, -1))).argmax(dim=-1)[0])
    return torch.stack(found, dim=1)


def _guided(logits: Tensor) -> Tensor:
    return guide(logits[:1], logits[1:], torch.full((1, 1, 1), GUIDANCE, device=logits.device))


@torch.inference_mode()
def _forced(runtime: StaticRuntime, inputs: LMInputs, num_steps: int) -> Tensor:
    """The logits after each step of random sequences, [B K S V]."""
    codes, session = random_codes(runtime.lm, 2, num_steps), runtime.start()
    slots, first = session.join(inputs, codes[:, :, :1], num_steps)
    return torch.stack([first, *(session.step(slots, codes[:, :, step]) for step in range(1, num_steps))], dim=2)


def precisions(setup: Setup) -> Iterator[Finding]:
    """Logits of each precision against those of one float32 pass over the same codes."""
    lm = untrained_lm(setup.models["small"], setup.device)
    inputs, num_steps = text_inputs(lm, 1), round(10 * setup.audio_s)
    with torch.inference_mode():
        expected = lm(random_codes(lm, 2, num_steps), inputs)
    spread = float(expected.std())
    for precision, limit in (("fp32", 1e-4), ("fp16", 1e-2), ("bf16", 8e-2), ("int8", 5e-2)):
        changed = to_precision(copy.deepcopy(lm), precision)
        found = _forced(StaticRuntime(changed), inputs.to(setup.device, PRECISIONS[precision]), num_steps).float()
        error = float((found - expected).square().mean().sqrt()) / spread
        yield {
            "what": "logits against float32",
            "precision": precision,
            "steps": num_steps,
            "error": error,
            "largest_error": float((found - expected).abs().max()) / spread,
            "same_likeliest_code": float((found.argmax(-1) == expected.argmax(-1)).float().mean()),
            "ok": error < limit,
        }
