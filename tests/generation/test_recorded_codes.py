"""The codes of forty requests of all kinds are those of an earlier version: the music is unchanged.

Models are loaded and asked as users do. Their weights come from integers, so that they are the same on every processor
and with every version of torch. After a change that is meant to be audible the codes are recorded anew with::

    RECORD_CODES=1 pytest tests/generation/test_recorded_codes.py

and the changelog says so.
"""

import importlib.util
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jaxtyping
import pytest
import torch
from torch import Tensor

import descant
from descant import Clip, Guidance, Request, Sampling

RECORD = Path(__file__).with_name("recorded_codes.json")


def whole_numbers(name: str, shape: torch.Size | tuple[int, ...], size: int) -> Tensor:
    """Numbers below ``size`` that depend on a name and nothing else."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    return torch.randint(0, size, tuple(shape), generator=generator)


def values(name: str, like: Tensor, spread: float) -> Tensor:
    """Even steps between -spread and spread; variances stay positive, norms near 1, counters what they are."""
    if not like.is_floating_point():
        return like
    value = whole_numbers(name, like.shape, 2_001).float() / 1_000 - 1
    if name.endswith(("running_var", "cluster_size")):
        return value.abs() + 0.5
    is_norm = "norm" in name and name.endswith("weight")
    return (1 + 0.2 * value if is_norm else spread * value).to(like.dtype)


def filled(tensors: Mapping[str, Tensor], spread: float = 0.5) -> dict[str, Tensor]:
    return {
        name: values(name, tensor, 1.5 if "embed" in name and "codebook" in name else spread)
        for name, tensor in tensors.items()
    }


def tune(rate_hz: float, duration_s: float = 1.5, channels: int = 1) -> Clip:
    """A square wave: its samples need no sine of this processor."""
    index = torch.arange(round(8_000 * duration_s))
    wave = torch.where((index * 2 * rate_hz / 8_000).long() % 2 == 0, 0.25, -0.25)
    return Clip(wave.expand(channels, -1), 8_000)


def noise(duration_s: float, rate_hz: int = 32_000) -> Clip:
    return Clip(whole_numbers("noise", (1, round(duration_s * rate_hz)), 2_001).float() / 4_000 - 0.25, rate_hz)


def ask(text: str | None, duration_s: float, **fields: Any) -> Request:
    return Request(**{"text": text, "duration_s": duration_s, "seed": 7, **fields})


def of_any_model(duration_s: float, frame_s: float, text: str, other: str) -> dict[str, Request]:
    """What every model is asked."""
    return {
        "plain": ask(text, duration_s),
        "nothing": ask(None, duration_s, seed=3),
        "negative": ask(text, duration_s, negative_text=other),
        "unguided": ask(text, duration_s, guidance=Guidance(scale=1.0)),
        "guided over time": ask(
            text, duration_s, guidance=Guidance(scale=5.0, schedule=((duration_s / 3, 1.0), (duration_s / 2, 3.0)))
        ),
        "sampled narrowly": ask(text, duration_s, sampling=Sampling(temperature=0.7, top_k=0, top_p=0.8)),
        "greedy": ask(text, duration_s, sampling=Sampling(greedy=True)),
        "timeline": ask(text, duration_s, timeline=((duration_s / 2 + frame_s / 4, other),)),
        "continued": ask(text, duration_s, prompt=noise(duration_s / 3)),
    }


REQUESTS: dict[str, dict[str, Request]] = {
    "starter": {
        **of_any_model(1.2, 0.02, "warm slow piano ballad, 90 bpm, in A minor", "rock drums, 120 bpm"),
        "longer than it was trained for": ask("house beat, 124 bpm", 10.6, stride_s=1.5),
        "loop": ask("drums, 240 bpm", 1.0, loop_bars=1, beats_per_bar=2),
        "melody": ask("flute", 1.2, melody=tune(440.0)),
        "pushed melody": ask("flute", 1.2, melody=tune(330.0), guidance=Guidance(melody_scale=3.0)),
        "continued along a melody": ask("strings", 1.4, prompt=noise(0.5), melody=tune(262.0, 2.0)),
        "stereo prompt of another rate": ask("organ", 1.0, prompt=tune(220.0, 0.4, channels=2)),
    },
    "attending": {
        **of_any_model(0.03, 0.001, "warm slow piano", "sad violin"),
        "prompt codes": ask("techno", 0.03, prompt_codes=whole_numbers("prompt", (4, 20), 16)),
    },
    "stereo": {
        "plain": ask("drums and piano", 0.03),
        "unguided": ask("drums and piano", 0.03, guidance=Guidance(scale=1.0)),
        "greedy": ask("drums and piano", 0.03, sampling=Sampling(greedy=True)),
        "continued": ask("drums", 0.03, prompt=noise(0.01, 8_000)),
        "timeline": ask("drums", 0.03, timeline=((0.011, "violin"),)),
    },
    "melody": {
        "plain": ask("slow violin", 0.03),
        "melody": ask("slow violin", 0.03, melody=tune(440.0), melody_part="mix"),
        "negative": ask("slow violin", 0.03, melody=tune(440.0), melody_part="mix", negative_text="drums"),
        "melody alone": ask(None, 0.03, melody=tune(330.0), melody_part="mix"),
        "pushed melody": ask(
            "piano", 0.03, melody=tune(330.0), melody_part="mix", guidance=Guidance(scale=2.0, melody_scale=3.0)
        ),
        "timeline": ask("piano", 0.03, melody=tune(262.0), melody_part="mix", timeline=((0.01, "drums"),)),
    },
    "style": {
        "plain": ask("piano", 0.4),
        "unguided": ask("piano", 0.4, guidance=Guidance(scale=1.0)),
        "style": ask("piano", 0.4, style_codes=whole_numbers("style", (3, 9), 1_024)),
        "pushed text": ask(
            "piano", 0.4, style_codes=whole_numbers("style", (3, 9), 1_024), guidance=Guidance(text_scale=4.0)
        ),
        "continued along a style": ask(
            "piano", 0.4, prompt=noise(0.1), style_codes=whole_numbers("style", (3, 9), 1_024), negative_text="noise"
        ),
    },
}
STREAMED = (
    ("starter", "plain"),
    ("starter", "continued along a melody"),
    ("attending", "timeline"),
    ("melody", "melody"),
)


@pytest.fixture(scope="module", autouse=True)
def _as_users_run_it() -> Iterator[None]:
    """Without the tests' type checks, which take most of the time of a step."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def models(tmp_path_factory, make_transformers, make_tokenizer, word_hashes) -> dict[str, Any]:
    """A model of each kind, loaded from a folder of a released layout, or the one that ships with the package."""
    folder = tmp_path_factory.mktemp("recorded")
    loaded = {"starter": descant.load("starter", device="cpu")}
    kinds: dict[str, dict[str, Any]] = {
        "attending": {},
        "stereo": {"num_codebooks": 8, "audio_channels": 2, "num_layers": 2, "num_heads": 2, "width": 24},
        "melody": {"is_melody": True, "num_layers": 2, "num_heads": 2, "width": 24},
    }
    for name, kind in kinds.items():
        theirs = make_transformers(**kind)
        theirs.load_state_dict(filled(theirs.state_dict()))
        theirs.save_pretrained(folder / name)
        make_tokenizer(folder / name)
        loaded[name] = descant.load(folder / name, device="cpu")
    loaded["style"] = style_model(folder / "style", word_hashes)
    return loaded


def style_model(folder: Path, word_hashes: Any) -> Any:
    """A style model in audiocraft's layout, with one random vector a word and without the network behind styles."""
    from descant.checkpoints import audiocraft

    spec = importlib.util.spec_from_file_location(
        "audiocraft_files", Path(__file__).parents[1] / "checkpoints" / "test_audiocraft.py"
    )
    assert spec is not None
    assert spec.loader is not None
    files = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(files)
    lm = filled(files.lm_tensors(has_cross=False) | files.style_tensors())
    files.write(folder, lm, filled(files.codec_tensors()), files.style_settings("xsmall"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audiocraft, "load_text_encoder", lambda config, *_: word_hashes(config.text.dim))
        patch.setattr(audiocraft, "load_style_features", lambda *_: None)
        return descant.MusicGen(audiocraft.load_model(folder), "style")


@pytest.fixture(scope="module")
def made(models) -> dict[str, dict[str, list[str]]]:
    """By model and name of a request its codes, a line for each codebook."""
    return {
        model: {name: lines_of(models[model].generate(one).codes) for name, one in requests.items()}
        for model, requests in REQUESTS.items()
    }


def lines_of(codes: Tensor) -> list[str]:
    return [" ".join(map(str, row)) for row in codes.tolist()]


def test_the_codes_are_those_that_were_recorded(made):
    if os.environ.get("RECORD_CODES"):
        RECORD.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
        pytest.fail(f"recorded into {RECORD}; now run without RECORD_CODES")
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    assert {model: list(requests) for model, requests in recorded.items()} == {
        model: list(requests) for model, requests in REQUESTS.items()
    }
    different = [
        f"{model}: {name}"
        for model in recorded
        for name in recorded[model]
        if recorded[model][name] != made[model][name]
    ]
    assert not different


def test_there_are_forty_requests_with_different_codes(made):
    codes = ["\n".join(lines) for requests in made.values() for lines in requests.values()]
    assert len(codes) >= 40
    # A narrow choice may be the likeliest one, and a timeline may change nothing in a random model.
    assert len(set(codes)) >= len(codes) - 2


@pytest.mark.parametrize(("model", "name"), STREAMED)
def test_streamed_they_are_the_same(models, made, model, name):
    stream = models[model].stream(REQUESTS[model][name], chunk_s=0.01)
    num_samples = sum(clip.samples.shape[1] for clip in stream)
    assert lines_of(stream.codes) == made[model][name]
    assert num_samples == models[model].generate(REQUESTS[model][name]).samples.shape[1]


def test_together_they_are_the_same(models, made):
    for model, all_requests in REQUESTS.items():
        requests = {name: one for name, one in all_requests.items() if one.duration_s < 10}
        clips = models[model].generate(list(requests.values()))
        for name, clip in zip(requests, clips, strict=True):
            assert lines_of(clip.codes) == made[model][name], (model, name)
