"""A folder of audio and a codec of every kind, trained by its recipe at toy size."""

import contextlib
import importlib.util
import io
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from descant.apps.cli.main import main
from descant.apps.cli.recipes import shipped_recipes

RATE_HZ = 8_000
TOY_CODEC = {
    "codec.sample_rate_hz": RATE_HZ,
    "codec.strides": [5, 4, 2],
    "codec.filters": 4,
    "codec.latent_dim": 8,
    "codec.lstm_layers": 1,
    "codec.codebook_size": 32,
    "codec.kmeans_iterations": 2,
    "batches.segment_s": 0.4,
    "batches.batch_size": 2,
    "validation.segment_s": 0.4,
    "validation.batch_size": 2,
    "num_validation_batches": 1,
    "task.mel.windows": [64, 256],
    "task.mel.num_mels": [5, 10],
    "task.spectral.windows": [64, 128],
    "task.spectral.num_mels": 8,
    "discriminator.filters": 2,
    "discriminator.n_ffts": [128, 64],
    "trainer.max_steps": 2,
}


@contextlib.contextmanager
def current_folder(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@dataclass(frozen=True)
class Workshop:
    """A folder in which commands run, one after the other."""

    folder: Path

    def run(self, *words: Any) -> dict[str, Any]:
        """Runs a command that must succeed; gives what it prints as JSON."""
        out, err = io.StringIO(), io.StringIO()
        with current_folder(self.folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([*(str(word) for word in words), "--json"])
        assert code == 0, err.getvalue()
        result: dict[str, Any] = json.loads(out.getvalue())
        return result

    def fail(self, *words: Any) -> str:
        """Runs a command that must fail; gives its message."""
        err = io.StringIO()
        with current_folder(self.folder), contextlib.redirect_stderr(err):
            assert main([str(word) for word in words]) != 0
        return err.getvalue()

    def train(self, recipe: str, out: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Runs a recipe with these settings."""
        words = [word for name, value in settings.items() for word in ("--set", f"{name}={json.dumps(value)}")]
        return self.run("train", recipe, "--out", out, *words)


def write_music(folder: Path) -> None:
    """Six short stereo melodies with captions and tags, a tone with harmonics on each side."""
    folder.mkdir()
    random = np.random.default_rng(0)
    times = np.arange(2 * RATE_HZ) / RATE_HZ
    for number in range(6):
        pitches = 220 * 2 ** (random.integers(0, 12, 4) / 12)
        phases = 2 * np.pi * np.cumsum(np.repeat(pitches, len(times) // 4)) / RATE_HZ
        sides = [sum(np.sin(k * phases) / k for k in range(1, 3 + side)) for side in (1, 2)]
        music = 0.2 * np.stack(sides, axis=1) + 0.01 * random.standard_normal((len(times), 2))
        soundfile.write(folder / f"{number}.wav", music, RATE_HZ)
        (folder / f"{number}.txt").write_text(("warm", "slow", "sad")[number % 3] + " piano and violin")
        (folder / f"{number}.json").write_text(json.dumps({"genre": "folk", "bpm": 90 + number}))


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> Workshop:
    """Audio, a mono and a stereo codec from the recipe, and the codes of both."""
    made = Workshop(tmp_path_factory.mktemp("workshop"))
    write_music(made.folder / "music")
    made.run("data", "scan", "music", "--valid-share", "0.3")
    result = made.train("encodec", "encodec", TOY_CODEC)
    assert {"mel", "si_sdr_db", "perplexity_q0"} <= result.keys()
    for codec, tokens in (("codec", "tokens"), ("stereo_codec", "stereo_tokens")):
        made.run("data", "tokenize", "music/manifest.jsonl", "--codec", f"encodec/{codec}", "-o", tokens)
    return made


@pytest.fixture(scope="session")
def toy_lm() -> Callable[..., dict[str, Any]]:
    """Settings that make any of the language model's recipes tiny."""

    def settings(**changes: Any) -> dict[str, Any]:
        return {
            "codec": "encodec/codec",
            "data.tokens": "tokens",
            "data.batches.batch_size": 2,
            "data.batches.segment_frames": 100,
            "data.num_validation_batches": 2,
            "model.lm.transformer.width": 16,
            "model.lm.transformer.num_heads": 2,
            "model.lm.transformer.num_layers": 2,
            "model.text": {"type": "SmallText"},
            "trainer.max_steps": 2,
            "trainer.accumulate": 1,
            "trainer.precision": "fp32",
            "trainer.optimizer.adaptation": None,
            "trainer.optimizer.lr": 1e-3,
            **{name.replace("__", "."): value for name, value in changes.items()},
        }

    return settings


@pytest.fixture(scope="session")
def make_t5(tmp_path_factory, make_tokenizer) -> Callable[[], str]:
    """Writes a random T5 of width 20 with a tokenizer of ten words, as the hub stores one; gives its folder."""
    transformers = pytest.importorskip("transformers", reason="transformers")

    def write() -> str:
        folder = tmp_path_factory.mktemp("t5")
        config = transformers.T5Config(vocab_size=13, d_model=20, d_kv=5, d_ff=30, num_layers=1, num_heads=4)
        transformers.T5EncoderModel(config).save_pretrained(folder)
        make_tokenizer(folder)
        return str(folder)

    return write


@pytest.fixture(scope="session")
def make_mert(tmp_path_factory) -> Callable[[], str]:
    """Writes a random MERT of width 16 as the hub stores one, a HuBERT under a name of its own; gives its folder."""
    transformers = pytest.importorskip("transformers", reason="transformers")

    def write() -> str:
        folder = tmp_path_factory.mktemp("mert")
        config = transformers.HubertConfig(
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            conv_dim=(8, 8),
            conv_kernel=(10, 3),
            conv_stride=(5, 4),
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
        )
        transformers.HubertModel(config).save_pretrained(folder)
        file = folder / "config.json"
        stored = json.loads(file.read_text())
        file.write_text(json.dumps({**stored, "model_type": "mert_model", "feature_extractor_cqt": False}))
        return str(folder)

    return write


def recipe(name: str) -> ModuleType:
    """A recipe of the package as a module."""
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", shipped_recipes()[name])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
