"""The recipes of the shipped starter at toy size, each starting from the result of the one before."""

import importlib.util
import json

import soundfile
import torch
from safetensors.torch import load_file

from descant.checkpoints.native import load_model

CODEC = {
    "codec.encoder_width": 16,
    "codec.decoder_width": 16,
    "codec.quantizer": {"dim": 8, "num_codebooks": 4, "codebook_size": 32, "codebook_dim": 8, "kmeans_iterations": 2},
    "manifest": "music/manifest.jsonl",
    "batches.segment_s": 0.5,
    "batches.batch_size": 2,
    "validation.segment_s": 0.5,
    "validation.batch_size": 2,
    "num_validation_batches": 1,
    "trainer.max_steps": 2,
}
LM = {
    "codec": "starter_codec/codec",
    "tokens": "starter_tokens",
    "batches.batch_size": 2,
    "batches.segment_frames": 50,
    "batches.short_frames": 25,
    "num_validation_batches": 1,
    "model.lm.transformer.width": 16,
    "model.lm.transformer.num_heads": 2,
    "model.lm.transformer.num_layers": 2,
    "trainer.max_steps": 2,
}


def test_every_stage_hands_on_exact_weights_and_the_export_rounds_them(workshop):
    workshop.train("starter_codec", "starter_codec", CODEC)
    words = ("--codec", "starter_codec/codec")
    workshop.run("data", "tokenize", "music/manifest.jsonl", *words, "-o", "starter_tokens")
    workshop.train("starter_lm", "starter_lm", LM)
    workshop.run("data", "melodies", "starter_tokens", *words)
    result = workshop.train("starter_melody", "starter_melody", {**LM, "start": "starter_lm/model"})
    assert "melody_gain" in result
    melodic = load_model(workshop.folder / "starter_melody" / "model")
    assert melodic.chords is None
    result = workshop.train("starter_chords", "starter_chords", {**LM, "start": "starter_melody/model"})
    assert "melody_gain" in result
    folder = workshop.folder / "starter_chords" / "model"
    assert load_model(folder).chords is not None
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float32}
    assert load_model(folder).config.max_duration_s == 1.0

    from descant.apps.cli.train import shipped_recipes

    file = shipped_recipes()["starter_lm"].with_name("starter_export.py")
    spec = importlib.util.spec_from_file_location("starter_export", file)
    export = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(export)
    target = workshop.folder / "exported"
    target.mkdir()
    export.export(folder, workshop.folder / "starter_codec" / "codec", target)
    stored = load_file(target / "model.safetensors")
    assert stored["lm.blocks.0.mlp.up.weight"].dtype == torch.int8
    assert json.loads((target / "config.json").read_text())["max_duration_s"] == 1.0
    workshop.run("generate", "warm piano", "--model", target, "-d", 1, "-o", "starter.wav")
    assert len(soundfile.read(workshop.folder / "starter.wav")[0]) == 32_000
