import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from descant.conditioning.encoders.small import SmallTextConfig, SmallTextEncoder, SmallTextNetwork, pack, unpack
from descant.errors import CheckpointError, ConfigError, InvalidRequest

TEXTS = ["warm slow piano", "techno", None, "a sad violin with loud drums and bass", "warm slow piano", "jazz, happy"]


def test_a_text_alone_is_the_text_in_a_batch_bit_for_bit(small_encoder):
    batch = small_encoder.encode(TEXTS)
    for row, text in enumerate(TEXTS):
        alone = small_encoder.encode([text])
        length = alone.values.shape[1]
        assert torch.equal(batch.values[row, :length], alone.values[0])
        assert torch.equal(batch.mask[row, :length], alone.mask[0])
        assert not batch.mask[row, length:].any()
        assert not batch.values[row, length:].any()


def test_different_texts_and_different_orders_give_different_vectors(small_encoder):
    forward, backward, other = small_encoder.encode(["warm piano", "piano warm", "warm violin"]).values
    assert not torch.equal(forward, backward)
    assert not torch.equal(forward, other)


def test_case_and_accents_do_not_matter(small_encoder):
    assert torch.equal(small_encoder.encode(["Wärm PIANO"]).values, small_encoder.encode(["warm piano"]).values)


def test_a_text_up_to_the_limit_is_read_whole_and_one_over_it_is_refused(small_encoder):
    assert small_encoder.encode(["warm " * 10]).mask.sum() == 12
    with pytest.raises(InvalidRequest, match="13 tokens: this encoder reads up to 12"):
        small_encoder.encode(["warm " * 11])


def test_written_then_read_then_written_is_the_same_bit_for_bit(small_encoder, tmp_path):
    small_encoder.save(tmp_path / "first")
    first = SmallTextEncoder.load(tmp_path / "first")
    first.save(tmp_path / "second")
    second = SmallTextEncoder.load(tmp_path / "second")
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert torch.equal(first.encode(TEXTS).values, second.encode(TEXTS).values)


@pytest.mark.parametrize(("name", "largest"), [("w", 127), ("tokens.weight", 7)])
def test_storing_rounds_each_matrix_row_to_within_half_a_step(name, largest):
    weight = torch.randn(50, 30) * torch.logspace(-6, 3, 50)[:, None]
    again = unpack(pack({name: weight}))[name]
    step = weight.abs().amax(dim=1, keepdim=True) / largest
    assert ((again - weight).abs() <= 0.51 * step).all()


def test_packing_what_was_unpacked_changes_no_bit():
    rows = torch.randn(200, 30) * torch.logspace(-12, 3, 200)[:, None]
    weights = {"w": rows, "tokens.weight": rows, "zero": torch.zeros(2, 3), "b": torch.randn(4)}
    packed = pack(weights)
    again = pack(unpack(packed))
    assert packed.keys() == again.keys()
    assert all(torch.equal(packed[name], again[name]) for name in packed)
    assert packed["tokens.weight"].nbytes == packed["w"].nbytes // 2


def test_sentences_are_unit_vectors_and_the_mean_of_their_tokens(small_encoder):
    vectors = small_encoder.sentence(["warm piano", "techno drums"])
    mean = small_encoder.encode(["warm piano"]).values[0].mean(dim=0)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(vectors[0], mean / mean.norm())


def test_a_moved_encoder_gives_the_same_vectors(small_encoder):
    assert torch.equal(small_encoder.to("cpu").encode(TEXTS).values, small_encoder.encode(TEXTS).values)


def test_vectors_can_be_learned_from_but_the_encoder_does_not_learn(small_encoder):
    project = torch.nn.Linear(small_encoder.dim, 2)
    project(small_encoder.encode(["warm piano"]).values).sum().backward()
    assert project.weight.grad is not None


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_without_one_of_its_files_is_named(small_encoder, tmp_path, name):
    small_encoder.save(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        SmallTextEncoder.load(tmp_path)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_a_broken_file_is_a_checkpoint_error(small_encoder, tmp_path, name):
    small_encoder.save(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:100])
    with pytest.raises(CheckpointError, match=name):
        SmallTextEncoder.load(tmp_path)


@pytest.mark.parametrize("change", ["leave out a weight", "leave out a scale", "add a weight", "reshape"])
def test_weights_that_do_not_fit_the_config_are_a_checkpoint_error(small_encoder, tmp_path, change):
    small_encoder.save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    if change == "leave out a weight":
        del weights["norm.bias"]
    elif change == "leave out a scale":
        del weights["tokens.weight.scale"]
    elif change == "add a weight":
        weights["extra"] = torch.zeros(3)
    else:
        weights["norm.bias"] = torch.zeros(3)
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="does not fit"):
        SmallTextEncoder.load(tmp_path)


def test_weights_that_are_no_numbers_are_a_checkpoint_error(small_encoder, tmp_path):
    small_encoder.save(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["norm.bias"][0] = torch.nan
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"norm\.bias has numbers that are not finite"):
        SmallTextEncoder.load(tmp_path)


def test_an_unknown_config_key_is_an_error(small_encoder, tmp_path):
    small_encoder.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "depth": 3}))
    with pytest.raises(ConfigError, match="depth: unknown key"):
        SmallTextEncoder.load(tmp_path)


def test_a_tokenizer_of_another_encoder_or_one_that_cuts_is_refused(small_config, wordpiece, words):
    with pytest.raises(ConfigError, match="different encoders"):
        SmallTextEncoder(SmallTextNetwork(small_config), wordpiece(words[:-1]))
    cutting = wordpiece()
    cutting.enable_truncation(4)
    with pytest.raises(ConfigError, match="truncates or pads"):
        SmallTextEncoder(SmallTextNetwork(small_config), cutting)


@pytest.mark.parametrize("wrong", [{"width": 25}, {"num_layers": 0}, {"embedding_rank": 0}, {"embedding_rank": 7}])
def test_impossible_shapes_are_config_errors(small_config, wrong):
    with pytest.raises(ConfigError):
        dataclasses.replace(small_config, **wrong)


def test_the_defaults_are_the_starters():
    assert dataclasses.replace(SmallTextConfig(vocab_size=1), vocab_size=2).width == 384
