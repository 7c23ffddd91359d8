"""Configs that are broken, or describe what no memory can hold: each is refused before anything is made of it."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from descant.checkpoints import audiocraft, huggingface
from tests.checkpoints.hostile import CHECK, Spoil, holding, raw, run

pytest.importorskip("yaml")
pytestmark = pytest.mark.usefixtures("time_limit", "text_encoder_stand_in")


def setting(path: str, value: object) -> Spoil:
    def edit(file: Path) -> None:
        plain = inner = json.loads(file.read_text())
        *parents, last = path.split(".")
        for name in parents:
            inner = inner[name]
        inner[last] = value
        file.write_text(json.dumps(plain))

    return edit


CONFIGS: dict[str, tuple[str, Spoil]] = {
    "a list": ("config.json", holding(b"[]")),
    "no end": ("config.json", holding(b"[" * 100_000)),
    "no UTF-8": ("config.json", raw(lambda content: content.replace(b"lm", b"\xff\xfe"))),
    "32 megabytes": ("config.json", raw(lambda content: content + b" " * 2**25)),
    "one key twice": ("config.json", raw(lambda content: content.replace(b"{", b'{"format_version": 1,', 1))),
    "unknown key": ("config.json", setting("lm.depth", 3)),
    "a word for a number": ("config.json", setting("lm.transformer.width", "wide")),
    "a claim for a number": ("config.json", setting("lm.transformer.num_layers", True)),
    "endless length": ("config.json", setting("max_duration_s", float("inf"))),
    "no length": ("config.json", setting("max_duration_s", float("nan"))),
    "10^9 layers": ("config.json", setting("lm.transformer.num_layers", 10**9)),
    "10^9 wide": ("config.json", setting("lm.transformer.width", 10**9)),
    "10^30 wide": ("config.json", setting("lm.transformer.width", 10**30)),
    "10^18 in the MLP": ("config.json", setting("lm.transformer.mlp_scale", 10**18)),
    "10^9 codebooks": ("config.json", setting("lm.num_codebooks", 10**9)),
    "10^13 entries": ("config.json", setting("lm.codebook_size", 10**13)),
    "-1 layers": ("config.json", setting("lm.transformer.num_layers", -1)),
    "0 heads": ("config.json", setting("lm.transformer.num_heads", 0)),
    "stereo weights in a mono config": ("config.json", setting("lm.num_codebooks", 8)),
    "a step that never comes": ("config.json", setting("pattern.delays", [0, 1, 2, 10**18])),
    "10^9 codebooks in the codec": ("codec/config.json", setting("num_codebooks", 10**9)),
    "10^9 layers in the codec": ("codec/config.json", setting("residual_layers", 10**9)),
    "10^9 layers of memory": ("codec/config.json", setting("lstm_layers", 10**9)),
    "10^9 strides": ("codec/config.json", setting("strides", [1] * 10_000)),
    "10^18 filters": ("codec/config.json", setting("filters", 10**18)),
    "0 strides": ("codec/config.json", setting("strides", [])),
    "another codec": ("codec/config.json", setting("type", "MP3")),
}


TRANSFORMERS_CONFIGS: dict[str, tuple[str, str, Spoil]] = {
    "10^9 layers": ("odd", "config.json", setting("decoder.num_hidden_layers", 10**9)),
    "10^9 layers of text": ("odd", "config.json", setting("text_encoder.num_layers", 10**9)),
    "10^12 wide": ("odd", "config.json", setting("decoder.hidden_size", 10**12)),
    "10^9 wide text": ("odd", "config.json", setting("text_encoder.d_ff", 10**9)),
    "0 strides": ("odd", "config.json", setting("audio_encoder.upsampling_ratios", [])),
    "another codec": ("odd", "config.json", setting("audio_encoder.model_type", "dac")),
    "another text encoder": ("odd", "config.json", setting("text_encoder.model_type", "bert")),
    "an unknown key": ("odd", "config.json", setting("decoder.sliding_window", 3)),
    "10^12 frames of melody": ("melody", "config.json", setting("chroma_length", 10**12)),
}


@pytest.mark.parametrize("fault", TRANSFORMERS_CONFIGS)
def test_a_hostile_config_of_transformers_is_refused_too(refused, fault):
    refused(*TRANSFORMERS_CONFIGS[fault])


@pytest.mark.parametrize("name", ["_attn_implementation", "attn_implementation"])
def test_a_config_of_text_cannot_name_code_to_run(sound_folders, tmp_path, monkeypatch, name):
    """transformers would fetch a kernel of that name from the hub, and load it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sound_folders["odd"], tmp_path / "model")
    setting(f"text_encoder.{name}", "someone/kernel")(tmp_path / "model" / "config.json")
    assert run(*CHECK).code == 0
    encoder = huggingface.load_model(tmp_path / "model").text.encoder
    assert "someone" not in json.dumps(encoder.config)


def test_layers_by_another_name_are_no_layers(sound_folders, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(sound_folders["odd"], tmp_path / "model")
    setting("text_encoder.num_hidden_layers", 10**9)(tmp_path / "model" / "config.json")
    assert run(*CHECK).code == 0
    assert huggingface.load_model(tmp_path / "model").text.encoder.config["num_layers"] == 2


@pytest.mark.parametrize("fault", CONFIGS)
def test_a_hostile_config_is_refused_before_anything_is_made_of_it(refused, fault):
    name, spoil = CONFIGS[fault]
    refused("native", name, spoil)


def test_stereo_settings_around_mono_weights_are_refused(refused):
    def edit(file: Path) -> None:
        package = torch.load(file, weights_only=True)
        package["xp.cfg"] = package["xp.cfg"].replace("use: false", "use: true").replace("n_q: 4", "n_q: 8")
        torch.save(package, file)

    refused("audiocraft", audiocraft.LM, edit)
