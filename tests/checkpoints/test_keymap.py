"""Names of tensors in the released layouts: read both ways, nothing lost, everything odd named."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from descant.checkpoints.keymap import (
    AUDIOCRAFT_CONDITIONS,
    AUDIOCRAFT_LM,
    HUGGINGFACE_CODEC,
    HUGGINGFACE_CONDITIONS,
    HUGGINGFACE_LM,
    KeyMap,
    audiocraft_codec_keys,
)
from descant.checkpoints.tensor_files import HeldTensors, TensorFiles, planned, read_tensors
from descant.codec.encodec import EnCodec, EnCodecConfig
from descant.errors import CheckpointError

CODECS = [
    EnCodecConfig(filters=2, latent_dim=8, codebook_size=16),
    EnCodecConfig(filters=2, latent_dim=8, codebook_size=16, strides=(4, 2), residual_layers=2, has_conv_shortcut=True),
    EnCodecConfig(filters=2, latent_dim=8, codebook_size=16, strides=(4, 5), lstm_layers=0, residual_layers=0),
]
LMS = {"audiocraft": AUDIOCRAFT_LM, "huggingface": HUGGINGFACE_LM}


def read(keys: KeyMap, theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the loaders do it, from tensors that are in memory already."""
    files = TensorFiles(Path("file"), [HeldTensors(theirs)])
    return read_tensors(files, planned(keys, files, ours), ours, torch.device("cpu"))


def same(ours: dict[str, Tensor], again: dict[str, Tensor]) -> bool:
    return ours.keys() == again.keys() and all(torch.equal(again[name], tensor) for name, tensor in ours.items())


@pytest.mark.parametrize("keys", LMS.values(), ids=LMS)
def test_a_language_model_there_and_back_is_the_same(tiny_model, keys):
    ours = tiny_model.lm.state_dict()
    assert same(ours, read(keys, keys.exported(ours), ours))


@pytest.mark.parametrize("config", CODECS, ids=["released", "shortcuts", "bare"])
@pytest.mark.parametrize("layout", ["audiocraft", "huggingface"])
def test_a_codec_there_and_back_is_the_same(config, layout):
    ours = EnCodec(config).state_dict()
    keys = audiocraft_codec_keys(config) if layout == "audiocraft" else HUGGINGFACE_CODEC
    assert same(ours, read(keys, keys.exported(ours), ours))


def test_audiocrafts_names_are_the_released_ones(tiny_model):
    names = set(AUDIOCRAFT_LM.exported(tiny_model.lm.state_dict()))
    assert {"emb.3.weight", "linears.0.weight", "out_norm.bias", "transformer.layers.1.linear2.weight"} <= names
    attention = {"self_attn.in_proj_weight", "self_attn.out_proj.weight", "cross_attention.in_proj_weight"}
    assert {f"transformer.layers.0.{name}" for name in attention} <= names
    assert {"transformer.layers.0.norm_cross.weight", "transformer.layers.0.norm1.bias"} <= names
    text = "condition_provider.conditioners.description.output_proj.bias"
    assert AUDIOCRAFT_CONDITIONS.names("text.project.bias") == (text,)
    melody = "condition_provider.conditioners.self_wav.output_proj.weight"
    assert AUDIOCRAFT_CONDITIONS.names("melody.project.weight") == (melody,)
    assert HUGGINGFACE_CONDITIONS.names("melody.project.weight") == ("audio_enc_to_dec_proj.weight",)


def test_audiocrafts_codec_names_are_the_released_ones():
    config = EnCodecConfig(filters=2, latent_dim=8, codebook_size=16)
    names = set(audiocraft_codec_keys(config).exported(EnCodec(config).state_dict()))
    assert {"encoder.model.0.conv.conv.weight_g", "encoder.model.1.block.3.conv.conv.weight_v"} <= names
    assert {"encoder.model.13.lstm.weight_hh_l1", "encoder.model.15.conv.conv.bias"} <= names
    assert {f"decoder.model.{layer}.convtr.convtr.weight_g" for layer in (3, 6, 9, 12)} <= names
    assert {"decoder.model.1.lstm.bias_ih_l0", "decoder.model.15.conv.conv.weight_v"} <= names
    codebook = {f"quantizer.vq.layers.3._codebook.{name}" for name in ("inited", "cluster_size", "embed", "embed_avg")}
    assert codebook <= names
    assert not any("batches_seen" in name for name in names)


@pytest.mark.parametrize("layout", ["audiocraft", "huggingface"])
def test_weight_norm_is_read_in_both_spellings(layout):
    config = CODECS[0]
    ours = EnCodec(config).state_dict()
    keys = audiocraft_codec_keys(config) if layout == "audiocraft" else HUGGINGFACE_CODEC
    theirs = keys.exported(ours)
    spellings = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
    other = {}
    for name, tensor in theirs.items():
        for short, long in spellings.items():
            name = name.removesuffix(short) + long if name.endswith(short) else name.replace(long, short)
        other[name] = tensor
    assert other.keys() != theirs.keys()
    assert same(ours, read(keys, other, ours))
    both = {**theirs, **other}
    with pytest.raises(CheckpointError, match="the same tensor in two spellings"):
        read(keys, both, ours)


def test_fused_projections_are_queries_keys_and_values_in_this_order(tiny_model):
    ours = tiny_model.lm.state_dict()
    theirs = HUGGINGFACE_LM.exported(ours)
    parts = [theirs[f"model.decoder.layers.1.encoder_attn.{part}_proj.weight"] for part in "qkv"]
    assert torch.equal(torch.cat(parts), ours["blocks.1.cross_attention.qkv.weight"])
    assert torch.equal(
        AUDIOCRAFT_LM.exported(ours)["transformer.layers.1.cross_attention.in_proj_weight"], torch.cat(parts)
    )


HEAD = "lm_heads.1.weight"
FAULTS = {
    "one too few": (lambda t: t.pop(HEAD), f"file: 1 missing tensors, first {HEAD}"),
    "a third of one": (
        lambda t: t.pop("model.decoder.layers.0.self_attn.k_proj.weight"),
        r"missing tensors, first model\.decoder\.layers\.0\.self_attn\.k_proj\.weight",
    ),
    "one too many": (lambda t: t.update(lm_heads_5=torch.zeros(2)), "1 unknown tensors, first lm_heads_5"),
    "a bias": (
        lambda t: t.update({"model.decoder.layers.0.fc1.bias": torch.zeros(64)}),
        r"1 unknown tensors, first model\.decoder\.layers\.0\.fc1\.bias",
    ),
    "turned": (lambda t: t.update({HEAD: t[HEAD].T}), rf"{HEAD} is \(16, 32\), its config makes it \(32, 16\)"),
    "a layer too many": (
        lambda t: t.update({"model.decoder.layers.2.fc1.weight": torch.zeros(64, 16)}),
        r"unknown tensors, first model\.decoder\.layers\.2\.fc1",
    ),
    "not a number": (
        lambda t: t.update({"lm_heads.².weight": torch.zeros(2)}),
        "1 unknown tensors",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_named(tiny_model, fault):
    spoil, message = FAULTS[fault]
    ours = tiny_model.lm.state_dict()
    theirs = HUGGINGFACE_LM.exported(ours)
    spoil(theirs)
    with pytest.raises(CheckpointError, match=message):
        read(HUGGINGFACE_LM, theirs, ours)


def test_what_a_config_says_anyway_is_left_alone(tiny_model):
    ours = tiny_model.lm.state_dict()
    theirs = HUGGINGFACE_LM.exported(ours)
    theirs["model.decoder.embed_positions.weights"] = torch.zeros(3, 16)
    assert same(ours, read(HUGGINGFACE_LM, theirs, ours))


def test_a_part_that_no_released_model_has_cannot_go_there(make_model):
    normed = make_model(lm_changes={"qk_norm": True}).lm.state_dict()
    for keys in LMS.values():
        with pytest.raises(CheckpointError, match=r"blocks\.0\.self_attention\.norms\.query has no place"):
            keys.exported(normed)


def test_a_table_under_other_names_is_the_same_table():
    keys = replace(HUGGINGFACE_LM, fresh=("x",)).under("lm.", "decoder.") | KeyMap(rules={"a": "b"})
    assert keys.names("lm.norm.bias") == ("decoder.model.decoder.layer_norm.bias",)
    assert keys.names("lm.x") == ()
    assert keys.names("a") == ("b",)
    with pytest.raises(CheckpointError, match="has no place"):
        keys.names("norm.bias")
