"""The recipes of the shipped starter at toy size, each starting from the result of the one before."""

import copy
import importlib.util
import json
import sys
from dataclasses import replace

import pytest
import soundfile
import torch
from safetensors.torch import load_file

from descant.apps.cli.recipes import shipped_recipes
from descant.checkpoints.native import load_codec, load_model, save_model, starter_folder
from descant.checkpoints.prior_file import read_prior
from descant.codec.spec import codec_spec
from descant.codec.spectral import SpectralCodec, SpectralCodecConfig
from descant.data.audio_dataset import AudioBatches
from descant.data.manifest import read_manifest
from descant.errors import ConfigError
from descant.nn.rvq import RVQConfig

LENGTHS = {
    "manifest": "music/manifest.jsonl",
    "batches.segment_s": 0.5,
    "batches.batch_size": 2,
    "validation.segment_s": 0.5,
    "validation.batch_size": 2,
    "num_validation_batches": 1,
    "trainer.max_steps": 2,
}
CODEC = {
    "codec.encoder_width": 16,
    "codec.decoder_width": 16,
    "codec.quantizer": {"dim": 8, "num_codebooks": 4, "codebook_size": 32, "codebook_dim": 8, "kmeans_iterations": 2},
    **LENGTHS,
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


def recipe(name):
    """The module of a recipe, also of one that is no run."""
    file = shipped_recipes()["starter_lm"].with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_a_decoder_with_more_layers_decodes_as_before_until_it_is_trained():
    torch.manual_seed(0)
    shape = SpectralCodecConfig(encoder_width=8, decoder_width=8, decoder_layers=2)
    codec = SpectralCodec(shape).eval()
    deeper, deeper_shape = recipe("starter_codec").deepened(codec, shape, 4)
    assert deeper_shape.decoder_layers == len(deeper.decoder.blocks) == 4
    codes = torch.randint(0, 1_024, (1, 4, 30))
    assert torch.equal(deeper.decode(codes), codec.decode(codes))
    assert codec_spec(deeper) == codec_spec(codec)
    wave = torch.randn(1, 1, 6_400)
    deeper(wave).wave.square().sum().backward()
    assert all(block.scale.grad.abs().sum() > 0 for block in deeper.decoder.blocks)


def test_layers_are_not_taken_away():
    shape = SpectralCodecConfig(encoder_width=8, decoder_width=8, decoder_layers=2)
    with pytest.raises(ConfigError, match="decoder_layers=1"):
        recipe("starter_codec").deepened(SpectralCodec(shape), shape, 1)


def test_a_codec_is_the_same_whichever_process_reads_its_audio(workshop):
    for out, workers in (("read_here", 0), ("read_by_others", 2)):
        workshop.train("starter_codec", out, {**CODEC, "workers": workers})
    one, other = (
        load_file(workshop.folder / out / "codec" / "model.safetensors") for out in ("read_here", "read_by_others")
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_table_is_renumbered_where_another_codec_numbers_the_same_entries_anew(workshop):
    module = recipe("starter_recode")
    torch.manual_seed(0)
    shape = SpectralCodecConfig(encoder_width=8, decoder_width=8, quantizer=RVQConfig(codebook_size=32))
    old = SpectralCodec(shape).eval()
    new, order = copy.deepcopy(old), torch.randperm(32)
    for level, of_new in zip(old.quantizer.levels, new.quantizer.levels, strict=True):
        level.codebook.normal_()
        of_new.codebook.copy_(level.codebook[order])
    records = read_manifest(workshop.folder / "music" / "manifest.jsonl", "train")
    counts = module.co_occurrences(old, new, AudioBatches(records, replace(module.CLIPS, segment_s=0.5)), 10)
    found = counts.sum(2) > 0
    assert (found.sum(1) > 1).all()
    tables = torch.nn.ModuleList(torch.nn.Embedding(33, 5) for _ in range(4))
    before = [table.weight.detach().clone() for table in tables]
    module.translate(tables, counts)
    for table, rows, of_table in zip(tables, before, found, strict=True):
        torch.testing.assert_close(table.weight[:32][of_table], rows[order][of_table])
        assert torch.equal(table.weight[32], rows[32])


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
    # What a model chooses for open prompts is no weight: it was lost where a run started from a model.
    melodic.prior = read_prior(starter_folder())
    melodic.config = replace(melodic.config, defaults=replace(melodic.config.defaults, hold_penalty=2.0))
    save_model(melodic, workshop.folder / "choosing")
    result = workshop.train("starter_chords", "starter_chords", {**LM, "start": "choosing"})
    assert "melody_gain" in result
    folder = workshop.folder / "starter_chords" / "model"
    assert load_model(folder).chords is not None
    assert (load_model(folder).prior, load_model(folder).config.defaults) == (melodic.prior, melodic.config.defaults)
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.float32}
    assert load_model(folder).config.max_duration_s == 1.0

    # Another codec, for which the language model is given other codes.
    workshop.train("starter_codec", "other_codec", {**CODEC, "trainer.seed": 1, "codec.decoder_width": 24})
    other = workshop.folder / "other_codec" / "codec"
    manifest, recoded = workshop.folder / "music" / "manifest.jsonl", workshop.folder / "recoded"
    recipe("starter_recode").recode(folder, other, manifest, recoded, 2)
    words = ("--codec", "other_codec/codec")
    workshop.run("data", "tokenize", "music/manifest.jsonl", *words, "-o", "other_tokens")
    workshop.run("data", "melodies", "other_tokens", *words)
    on_other = {**LM, "codec": "other_codec/codec", "tokens": "other_tokens", "start": "recoded"}
    workshop.train("starter_chords", "on_other", on_other)
    on_other_codes = load_model(workshop.folder / "on_other" / "model")
    assert codec_spec(on_other_codes.codec) == codec_spec(load_codec(other)[0])
    assert on_other_codes.prior == melodic.prior

    # The discriminator's windows are as short as the codec's clips.
    polish = {"start": "starter_codec/codec", "decoder_layers": 6, "discriminator.n_ffts": [128], **LENGTHS}
    workshop.train("starter_codec:deepen", "deeper", polish)
    target = workshop.folder / "exported"
    target.mkdir()
    recipe("starter_export").export(folder, workshop.folder / "deeper" / "codec", target)
    assert load_model(target).config.codec.decoder_layers == 6
    stored = load_file(target / "model.safetensors")
    assert stored["lm.blocks.0.mlp.up.weight"].dtype == torch.int8
    assert json.loads((target / "config.json").read_text())["max_duration_s"] == 1.0
    workshop.run("generate", "warm piano", "--model", target, "-d", 1, "-o", "starter.wav")
    assert len(soundfile.read(workshop.folder / "starter.wav")[0]) == 32_000
