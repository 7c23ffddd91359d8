"""transformers' layout: unsupported settings are named, and what is written and read back is the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from descant.apps.cli.models import LAYOUT_NAMES
from descant.checkpoints import audiocraft, huggingface, tensor_files
from descant.checkpoints.huggingface_config import read_model, write_model
from descant.checkpoints.layouts import LAYOUTS, check_model, convert, load_codec, load_model, read_model_config
from descant.conditioning.text import T5Text
from descant.errors import CheckpointError
from descant.presets import PRESETS


@pytest.fixture(scope="module")
def model(transformers_model):
    return huggingface.load_model(transformers_model("odd").folder)


@pytest.fixture
def folder(transformers_model, tmp_path) -> Path:
    return Path(shutil.copytree(transformers_model("odd").folder, tmp_path / "theirs"))


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def edit(file: Path, change: Callable[[dict], object]) -> None:
    plain = json.loads(file.read_text())
    change(plain)
    file.write_text(json.dumps(plain))


# There and back.


@pytest.mark.parametrize("kind", ["odd", "stereo", "melody"])
def test_a_model_through_both_layouts_is_the_same_bit_for_bit(transformers_model, kind, tmp_path):
    source = transformers_model(kind).folder
    first = load_model(source)
    convert(source, tmp_path / "native", "native")
    convert(tmp_path / "native", tmp_path / "theirs", "huggingface")
    convert(tmp_path / "theirs", tmp_path / "again", "native")
    for name in ("native", "theirs", "again"):
        again = load_model(tmp_path / name)
        assert again.config == first.config == read_model_config(tmp_path / name)
        assert same(again.state_dict(), first.state_dict()), name
        assert torch.equal(again.text.encoder.states("warm piano"), first.text.encoder.states("warm piano"))
        assert check_model(tmp_path / name).problems == ()
    tensors = [load_file(folder / "model.safetensors") for folder in (source, tmp_path / "theirs")]
    assert same(*tensors)
    for file in ("model.safetensors", "config.json", "codec/model.safetensors", "text/model.safetensors"):
        assert (tmp_path / "native" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


def test_shards_and_pickles_hold_the_same_model(model, folder, tmp_path):
    huggingface.save_model(model, tmp_path / "shards", shard_bytes=20_000)
    assert len(list((tmp_path / "shards").glob("model-*.safetensors"))) > 2
    theirs = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    pickled = tmp_path / "pickled"
    shutil.copytree(folder, pickled)
    torch.save(theirs, pickled / "pytorch_model.bin")
    spelled = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in theirs.items()
    }
    half = len(spelled) // 2
    parts = {"a.bin": dict([*spelled.items()][:half]), "b.bin": dict([*spelled.items()][half:])}
    for name, tensors in parts.items():
        torch.save(tensors, folder / name)
    weight_map = {tensor: name for name, tensors in parts.items() for tensor in tensors}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    for place in (tmp_path / "shards", pickled, folder):
        assert same(load_model(place).state_dict(), model.state_dict()), place


def test_a_codec_through_both_layouts_is_the_same(model, tmp_path):
    huggingface.save_codec(model.codec, model.config.codec, tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "native", "native")
    for place in ("theirs", "native"):
        codec, config = load_codec(tmp_path / place)
        assert config.num_codebooks == 4
        assert same(codec.state_dict(), model.codec.state_dict())


def test_the_precision_asked_for_is_the_language_models_and_nothing_is_left_without_memory(folder, monkeypatch):
    monkeypatch.setattr(tensor_files, "REOPEN_BYTES", 1_000)  # so that the file is opened anew many times
    model = load_model(folder, dtype=torch.bfloat16)
    assert {parameter.dtype for part in (model.lm, model.text) for parameter in part.parameters()} == {torch.bfloat16}
    assert {parameter.dtype for parameter in model.codec.parameters()} == {torch.float32}
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_model_outlives_the_files_it_was_read_from(folder, model):
    read = load_model(folder)
    (folder / "model.safetensors").write_bytes(b"")
    assert same(read.state_dict(), model.state_dict())
    assert torch.equal(read.text.encoder.states("piano"), model.text.encoder.states("piano"))


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in ("tiny", "starter", "style")])
def test_every_released_shape_converts_to_their_config_and_back(name):
    config = PRESETS[name]()
    described = write_model(config, {"d_model": 768})
    assert described["config.json"]["audio_encoder"]["target_bandwidths"] == [2.2]
    assert described["generation_config.json"]["max_length"] == 1_500
    assert read_model(*described.values()) == config


def test_the_layouts_that_the_command_names_are_those_there_are():
    assert tuple(LAYOUTS) == LAYOUT_NAMES


# Unsupported settings.

CONFIGS: dict[str, tuple[str, str, object]] = {
    "another activation": ("decoder", "activation_function", "relu"),
    "scaled embeddings": ("decoder", "scale_embedding", True),
    "tied embeddings": ("decoder", "tie_word_embeddings", True),
    "another special code": ("decoder", "pad_token_id", 0),
    "an end code": ("decoder", "eos_token_id", 3),
    "an odd MLP": ("decoder", "ffn_dim", 81),
    "an unknown key": ("decoder", "use_biases", True),
    "a string for a number": ("decoder", "num_hidden_layers", "3"),
    "too many layers": ("decoder", "num_hidden_layers", 10**9),
    "three channels": ("decoder", "audio_channels", 3),
    "a codec that normalizes": ("audio_encoder", "normalize", True),
    "a codec in chunks": ("audio_encoder", "chunk_length_s", 1.0),
    "another norm": ("audio_encoder", "norm_type", "time_group_norm"),
    "another trimming": ("audio_encoder", "trim_right_ratio", 0.5),
    "a projecting quantiser": ("audio_encoder", "codebook_dim", 4),
    "another kind of codec": ("audio_encoder", "model_type", "dac"),
    "another text encoder": ("text_encoder", "model_type", "bert"),
    "no width": ("text_encoder", "d_model", None),
    "an absurd T5": ("text_encoder", "num_layers", 10**9),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_an_unsupported_setting_is_named_by_its_key(folder, case):
    section, key, value = CONFIGS[case]
    edit(folder / "config.json", lambda plain: plain[section].update({key: value}))
    with pytest.raises(CheckpointError, match="num_layers" if key == "num_hidden_layers" and value == 10**9 else key):
        load_model(folder)


def test_ignored_keys_change_nothing(folder, model):
    def change(plain: dict) -> None:
        plain["decoder"].update(something_new=None, max_position_embeddings=77, dropout=0.5, top_k=50)
        plain["audio_encoder"].update(torch_dtype="float32", id2label={"0": "LABEL_0"}, tie_word_embeddings=True)

    edit(folder / "config.json", change)
    assert load_model(folder).config == model.config


def test_how_a_model_samples_comes_along(folder):
    stored = {"temperature": 0.9, "top_k": 7, "top_p": 0.8, "guidance_scale": 2.5, "max_length": 1_500}
    (folder / "generation_config.json").write_text(json.dumps(stored))
    config = read_model_config(folder)
    defaults = config.defaults
    assert (defaults.temperature, defaults.top_k, defaults.top_p, defaults.guidance) == (0.9, 7, 0.8, 2.5)
    assert config.max_duration_s == 1.5
    for key, value in (("max_length", 0), ("top_k", 1.5), ("temperature", 0.0)):
        (folder / "generation_config.json").write_text(json.dumps({key: value}))
        with pytest.raises(CheckpointError, match=key):
            read_model_config(folder)


TENSOR = "decoder.lm_heads.1.weight"
TENSORS: dict[str, tuple[Callable[[dict[str, Tensor]], object], str]] = {
    "one too few": (lambda t: t.pop(TENSOR), f"1 missing tensors, first {TENSOR}"),
    "one too many": (lambda t: t.update(x=torch.zeros(1)), "1 unknown tensors, first x"),
    "of the T5, too few": (lambda t: t.pop("text_encoder.shared.weight"), "text_encoder: 1 missing"),
    "of the T5, too many": (lambda t: t.update({"text_encoder.x": torch.zeros(1)}), "text_encoder: 1 unknown"),
    "of the T5, NaN": (lambda t: t["text_encoder.shared.weight"].fill_(torch.nan), "values that are not finite"),
    "turned": (lambda t: t.update({TENSOR: t[TENSOR].T.contiguous()}), rf"{TENSOR} is \(20, 16\)"),
    "NaN": (lambda t: t[TENSOR].fill_(torch.nan), f"{TENSOR} holds values that are not finite"),
    "whole numbers": (lambda t: t.update({TENSOR: t[TENSOR].to(torch.int8)}), "stored as torch.int8"),
}


@pytest.mark.parametrize("fault", TENSORS)
def test_a_tensor_that_does_not_fit_is_named(folder, fault):
    spoil, message = TENSORS[fault]
    tensors = load_file(folder / "model.safetensors")
    spoil(tensors)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_model(folder)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "missing.safetensors", "config.json", 3])
def test_an_index_leads_nowhere_else(folder, name):
    (folder / "model.safetensors").rename(folder / "a.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {TENSOR: name}}))
    with pytest.raises(CheckpointError, match=r"is not a \.safetensors file of this folder|is missing: the index"):
        load_model(folder)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {TENSOR: "a.safetensors"}}))
    with pytest.raises(CheckpointError, match="the index and the file disagree"):
        load_model(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_missing_file_is_reported(folder, name):
    (folder / name).unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(CheckpointError, match=str(folder)):
        load_model(folder)


# What has no place there.


def test_what_transformers_does_not_support_is_refused_and_nothing_is_written(make_model, model, tmp_path):
    with pytest.raises(CheckpointError, match="this model WordHashes"):
        huggingface.save_model(make_model(), tmp_path / "a")
    for changes, word in (
        ({"lm_changes": {"qk_norm": True}}, r"lm\.transformer\.qk_norm=True"),
        ({"lm_changes": {"positions": "rotary"}}, r"lm\.transformer\.positions='rotary'"),
        ({"lm_changes": {"has_cross_attention": False}}, "melody"),
    ):
        with pytest.raises(CheckpointError, match=word):
            write_model(make_model(text=T5Text(dim=12), **changes).config, {"d_model": 12})
    with pytest.raises(CheckpointError, match="style conditioning"):
        write_model(PRESETS["style"](), {"d_model": 768})
    (tmp_path / "mine.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="exists and holds something else"):
        huggingface.save_model(model, tmp_path)
    assert not (tmp_path / "a").exists()


def test_files_of_another_layout_next_to_a_model_change_nothing(folder, tmp_path):
    """Repositories hold a model in two layouts, and downloads leave out some of the files."""
    both = tmp_path / "both"
    shutil.copytree(folder, both)
    (both / audiocraft.CODEC).write_bytes(b"not looked at")
    convert(both, tmp_path / "native", "native")
    assert same(load_model(tmp_path / "native").state_dict(), load_model(folder).state_dict())
    (both / "model.safetensors").unlink()
    (both / audiocraft.LM).write_bytes(b"looked at")
    with pytest.raises(CheckpointError, match=rf"{audiocraft.LM}.*torch's archive"):
        load_model(both)


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
def test_a_conversion_writes_over_nothing(folder, tmp_path, layout):
    taken = tmp_path / "taken"
    convert(folder, taken, "native")
    (taken / "README.md").write_text("my notes")
    with pytest.raises(CheckpointError, match="is there and not an empty folder"):
        convert(folder, taken, layout)
    assert (taken / "README.md").read_text() == "my notes"
