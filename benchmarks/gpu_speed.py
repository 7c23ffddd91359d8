"""Measurements of `gpu_check.py`: steps, the whole way from text to sound, and transformers at the same shapes."""

import importlib.util
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from gpu_setup import (
    GUIDANCE,
    NUM_WORDS,
    PRECISIONS,
    Finding,
    Setup,
    best_ms,
    random_codes,
    read_bytes,
    text_inputs,
    to_precision,
    untrained_lm,
)
from torch import Tensor

from descant import Request, presets
from descant.checkpoints.untrained import untrained_model
from descant.conditioning.base import TextEncoder
from descant.generation.engine import Engine
from descant.generation.runtimes.cuda_graphs import GraphCache
from descant.generation.runtimes.int8_linear import has_triton
from descant.generation.runtimes.static import StaticRuntime
from descant.generation.runtimes.static_state import Capacity, StaticState
from descant.generation.runtimes.static_step import StaticStep
from descant.model import MusicGenModel
from descant.nn.transformer import TransformerConfig
from descant.studies.speed.machine import measure_ceiling
from descant.studies.speed.timing import timed


def machine(setup: Setup) -> Iterator[Finding]:
    """The device, and the bandwidth that the shares of all other findings count in."""
    is_cuda = setup.device.type == "cuda"
    yield {
        "what": "machine",
        "device": torch.cuda.get_device_name(setup.device) if is_cuda else setup.device.type,
        "torch": torch.__version__,
        "triton": has_triton(),
        "bandwidth_bytes_per_s": _bandwidth(setup),
    }


def steps(setup: Setup) -> Iterator[Finding]:
    """Milliseconds of a step with guidance, for every size, precision, batch and position; no sampling."""
    bandwidth = _bandwidth(setup)
    for name, config in setup.models.items():
        lm = untrained_lm(config, setup.device, "fp16")
        # The last one changes the model for good.
        for precision in ("fp16", "bf16", "int8"):
            lm = to_precision(lm, precision)
            for num_prompts in setup.batches:
                _reset_peak(setup)
                runtime = StaticRuntime(lm)
                for position in setup.positions:
                    try:
                        ms = _step_ms(setup, runtime, num_prompts, position)
                    except torch.OutOfMemoryError:
                        yield {"what": "step", "model": name, "prompts": num_prompts, "left_out": "out of memory"}
                        break
                    num_bytes = read_bytes(lm, 2 * num_prompts, position)
                    yield {
                        "what": "step",
                        "model": name,
                        "precision": precision,
                        "prompts": num_prompts,
                        "position": position,
                        "ms": ms,
                        "real_time_factor": ms / 20,
                        "share_of_bandwidth": num_bytes / (ms / 1_000) / bandwidth,
                        "peak_memory_bytes": _peak(setup),
                    }
                del runtime


def _step_ms(setup: Setup, runtime: StaticRuntime, num_prompts: int, position: int) -> float:
    lm, session = runtime.lm, runtime.start()
    most = setup.positions[-1] + 10 * setup.num_steps
    codes = random_codes(lm, 2 * num_prompts, position)
    with torch.inference_mode():
        slots, _ = session.join(text_inputs(lm, num_prompts), codes, most)

        def some_steps() -> None:
            for _ in range(setup.num_steps):
                session.step(slots, codes[:, :, 0])

        ms = best_ms(some_steps, setup.device, repeats=3) / setup.num_steps
        session.leave(slots)
    return ms


def plain_steps(setup: Setup) -> Iterator[Finding]:
    """What each part of the fast step is worth: without graphs, and without our attention."""
    lm = untrained_lm(setup.models["small"], setup.device, "fp16")
    position = setup.positions[len(setup.positions) // 2]
    for is_captured, uses_triton in ((False, None), (True, False), (True, None)):
        ms = _step_ms(setup, StaticRuntime(lm, is_captured, uses_triton), 1, position)
        yield {
            "what": "step, parts left out",
            "is_captured": is_captured,
            "uses_triton": uses_triton is None and setup.device.type == "cuda" and has_triton(),
            "ms": ms,
        }


def compiled_step(setup: Setup) -> Iterator[Finding]:
    """The step of a model with fewer layers, as it is and compiled by torch; an experiment, which may fail."""
    config = setup.models["small"]
    shallow = replace(config, transformer=replace(config.transformer, num_layers=1 if setup.is_toy else 6))
    lm, length = untrained_lm(shallow, setup.device, "fp16"), 512
    uses_triton = setup.device.type == "cuda" and has_triton()
    with torch.inference_mode():
        state = StaticState(lm, Capacity.of(text_inputs(lm, 1), 2, length).rounded_up())
        step, graphs = StaticStep(lm, state, uses_triton), GraphCache(setup.device)
        plain = partial(step, 2, length)
        finding = {"what": "step, compiled", "layers": shallow.transformer.num_layers}
        finding["plain_ms"] = best_ms(lambda: graphs.run("plain", plain), setup.device)
        try:
            compiled = torch.compile(plain, backend="eager" if setup.is_toy else "inductor")
            finding["compiled_ms"] = best_ms(lambda: graphs.run("compiled", compiled), setup.device)
        except Exception as error:
            finding["left_out"] = str(error)[:200]
    yield finding


def pipeline(setup: Setup) -> Iterator[Finding]:
    """Seconds from texts to sound with untrained models, and of the codec's part in them."""
    for name in ("tiny",) if setup.is_toy else ("small", "large"):
        for precision in ("fp16", "int8"):
            engine = Engine(_untrained(setup, name, precision))
            engine.runtime = StaticRuntime(engine.model.lm)
            for num_prompts in setup.batches:
                yield {
                    "what": "pipeline",
                    "model": name,
                    "precision": precision,
                    "prompts": num_prompts,
                    "audio_s": setup.audio_s,
                    **_pipeline_times(setup, engine, num_prompts),
                }


def _pipeline_times(setup: Setup, engine: Engine, num_prompts: int) -> Finding:
    requests = [Request(text=f"piano {seed}", duration_s=setup.audio_s, seed=seed) for seed in range(num_prompts)]
    seconds = best_ms(lambda: engine.generate(requests), setup.device, repeats=2) / 1_000
    codec = engine.model.codec
    codes = torch.zeros(1, codec.num_codebooks, round(codec.frame_rate_hz * setup.audio_s), dtype=torch.int64)
    with torch.inference_mode():
        codec_ms = best_ms(lambda: codec.decode(codes.to(setup.device)), setup.device)
    return {
        "seconds": seconds,
        "real_time_factor": seconds / setup.audio_s,
        "audio_s_per_s": num_prompts * setup.audio_s / seconds,
        "codec_seconds": num_prompts * codec_ms / 1_000,
    }


def _untrained(setup: Setup, name: str, precision: str) -> MusicGenModel:
    torch.manual_seed(0)
    config = presets.PRESETS[name]()
    with setup.device:
        model = untrained_model(config, RandomText(config.text.dim)).eval().requires_grad_(False)
    model = model.to_precision(PRECISIONS[precision]).to_device(setup.device)
    if precision == "int8":
        to_precision(model.lm, precision)
    return model


class RandomText(TextEncoder):
    """Vectors that depend on the text alone, in place of a T5's."""

    def __init__(self, dim: int, device: torch.device | None = None) -> None:
        self._dim, self._device = dim, device or torch.device("cpu")

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def device(self) -> torch.device:
        return self._device

    def to(self, device: torch.device | str) -> "RandomText":
        return RandomText(self._dim, torch.device(device))

    def states(self, text: str) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(text.encode()))
        return torch.randn(NUM_WORDS, self._dim, generator=generator).to(self._device)


def transformers_pipeline(setup: Setup) -> Iterator[Finding]:
    """Seconds of ``MusicgenForConditionalGeneration.generate`` with random weights of the same shapes, in float16, with
    the same sampling and guidance. Its T5 is a small one, as ours costs nothing."""
    if importlib.util.find_spec("transformers") is None:
        yield {"what": "transformers", "left_out": "it is not installed"}
        return
    import transformers

    for name, config in setup.models.items():
        model = _their_model(setup, config.transformer)
        audio_s = setup.audio_s if name == "small" else setup.short_audio_s
        for num_prompts in setup.batches if name == "small" else setup.batches[:1]:
            _their_run(setup, model, num_prompts, 0.2)
            seconds = _their_run(setup, model, num_prompts, audio_s)
            yield {
                "what": "transformers",
                "version": transformers.__version__,
                "model": name,
                "prompts": num_prompts,
                "audio_s": audio_s,
                "seconds": seconds,
                "real_time_factor": seconds / audio_s,
            }
        del model


def _their_run(setup: Setup, model: Any, num_prompts: int, audio_s: float) -> float:
    tokens = torch.ones(num_prompts, NUM_WORDS, dtype=torch.int64, device=setup.device)
    settings = {"do_sample": True, "top_k": 250, "guidance_scale": GUIDANCE, "max_new_tokens": round(50 * audio_s) + 4}
    with torch.inference_mode():
        return timed(
            lambda: model.generate(input_ids=tokens, attention_mask=torch.ones_like(tokens), **settings), setup.device
        )


def _their_model(setup: Setup, ours: TransformerConfig) -> Any:
    import transformers

    width = ours.width
    decoder = transformers.MusicgenDecoderConfig(
        hidden_size=width,
        num_hidden_layers=ours.num_layers,
        num_attention_heads=ours.num_heads,
        ffn_dim=ours.mlp_scale * width,
    )
    text = transformers.T5Config(d_model=64, d_kv=16, d_ff=64, num_layers=1, num_heads=4, vocab_size=100)
    codec = transformers.EncodecConfig(
        sampling_rate=32_000,
        target_bandwidths=[2.2],
        upsampling_ratios=[8, 5, 4, 4],
        num_filters=4 if setup.is_toy else 64,
        codebook_size=2_048,
        num_lstm_layers=2,
        use_causal_conv=False,
        use_conv_shortcut=False,
    )
    config = transformers.MusicgenConfig(
        text_encoder=text.to_dict(), audio_encoder=codec.to_dict(), decoder=decoder.to_dict()
    )
    with setup.device:
        model = transformers.MusicgenForConditionalGeneration(config).eval().requires_grad_(False)
    special = decoder.vocab_size
    model.generation_config = transformers.GenerationConfig(
        pad_token_id=special, bos_token_id=special, decoder_start_token_id=special
    )
    return model.half() if setup.device.type == "cuda" else model


def _bandwidth(setup: Setup) -> float:
    return measure_ceiling(setup.device, torch.float32).bandwidth_bytes_per_s


def _reset_peak(setup: Setup) -> None:
    if setup.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(setup.device)


def _peak(setup: Setup) -> int | None:
    return torch.cuda.max_memory_allocated(setup.device) if setup.device.type == "cuda" else None
