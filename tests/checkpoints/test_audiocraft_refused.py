"""audiocraft's layout: settings, tensors and names that cannot be used are named."""

from pathlib import Path
from typing import Any

import pytest
import torch

from descant.checkpoints import audiocraft, hub
from descant.checkpoints.audiocraft_codec import read_codec
from descant.conditioning.chroma import MelodyConfig
from descant.errors import CheckpointError, ConfigError
from tests.checkpoints.audiocraft_files import (
    CODEC_SETTINGS,
    DESCRIPTION,
    LM_SETTINGS,
    SMALL_STYLE,
    as_t5,
    bits,
    changed,
    codec_tensors,
    lm_tensors,
    write,
    write_codec_file,
)

pytestmark = pytest.mark.usefixtures("stand_ins")


REFUSED_LM: dict[str, tuple[str, Any, str]] = {
    "another model": ("lm_model", "transformer_lm_magnet", "lm_model='transformer_lm_magnet': allowed"),
    "rope": ("transformer_lm.positional_embedding", "rope", "positional_embedding='rope': allowed are 'sin'"),
    "post-norm": ("transformer_lm.norm_first", False, "norm_first=False"),
    "biases": ("transformer_lm.bias_ff", True, "bias_ff=True"),
    "window": ("transformer_lm.past_context", 500, "past_context=500"),
    "relu": ("transformer_lm.activation", "relu", "activation='relu'"),
    "unknown key": ("transformer_lm.depth", 3, r"transformer_lm\.depth: unknown key"),
    "a key that is no text": ("transformer_lm", {1: 2, "dim": 16}, "unknown key"),
    "no section": ("transformer_lm", None, r"transformer_lm\..*: missing"),
    "text for a number": ("transformer_lm.dim", "wide", r"transformer_lm\.dim='wide'"),
    "two steps a frame": ("codebooks_pattern.delay.flatten_first", 2, "flatten_first=2"),
    "unknown pattern": ("codebooks_pattern.modeling", "spiral", "modeling='spiral'"),
    "no pattern": ("codebooks_pattern.modeling", None, "modeling=None"),
    "delays of words": ("codebooks_pattern.delay.delays", ["a"], "whole numbers"),
    "style by EnCodec": (
        "conditioners.self_wav",
        {"model": "style", "style": {"model_name": "encodec", "sample_rate": 32_000, "length": 3.0}},
        "model_name",
    ),
    "another sound": ("conditioners.self_wav", {"model": "beat"}, r"self_wav\.model='beat'"),
    "melody nowhere": (
        *("conditioners.self_wav", {"model": "chroma_stem", "chroma_stem": {"sample_rate": 32_000, "argmax": True}}),
        "self_wav in prepend",
    ),
    "chords": ("conditioners.chords", {"model": "chords_emb"}, r"conditioners\.chords"),
    "tags": ("conditioners.description", {"model": "lut"}, r"description\.model='lut'"),
    "trained T5": ("conditioners.description.t5.finetune", True, "finetune=True"),
    "text summed": ("fuser", {"sum": ["description"]}, "must be in cross or in prepend"),
    "text twice": ("fuser.prepend", ["description"], "must be in cross or in prepend"),
    "eight books of four": ("transformer_lm.n_q", 8, "the codec has 4 codebooks"),
    "endlessly many books": ("transformer_lm.n_q", 10**12, "the codec has 4 codebooks"),
    "endlessly many layers": ("transformer_lm.num_layers", 10**12, "num_layers=1000000000000: at most"),
    "absurd width": ("transformer_lm.dim", 10**18, "no model can be made of its config"),
    "a number of 31 digits": ("transformer_lm.dim", 10**30, "more than 64 bits"),
    "another width": ("transformer_lm.dim", 32, "its config makes it"),
    "one book of the codec": ("compression_model_n_q", 1, "compression_model_n_q=1"),
    "per timestep": ("interleave_stereo_codebooks.per_timestep", True, "per_timestep=True"),
    "stereo of mono weights": ("interleave_stereo_codebooks.use", True, "the codec has 8 codebooks"),
    "no length": ("dataset.segment_duration", None, "segment_duration=None"),
    "endless length": ("dataset.segment_duration", float("inf"), "finite"),
    "reference to nothing": ("dataset.segment_duration", "${no.such}", "that does not exist"),
    "reference to itself": ("dataset.segment_duration", "${dataset.segment_duration}", "that does not exist"),
}


@pytest.mark.parametrize("fault", REFUSED_LM)
def test_settings_of_the_language_model_that_are_not_supported_are_named(tmp_path, fault):
    path, value, message = REFUSED_LM[fault]
    folder = write(tmp_path / "m", lm_tensors(), codec_tensors(), changed(LM_SETTINGS, path, value))
    with pytest.raises(CheckpointError, match=message) as caught:
        audiocraft.load_model(folder)
    assert audiocraft.LM in str(caught.value)


REFUSED_CODEC: dict[str, tuple[str, Any, str]] = {
    "DAC": ("compression_model", "dac", "compression_model='dac'"),
    "renormalised": ("encodec.renormalize", True, "renormalize=True"),
    "another norm": ("seanet.norm", "time_group_norm", "norm='time_group_norm'"),
    "tanh at the end": ("seanet.decoder.final_activation", "Tanh", "final_activation='Tanh'"),
    "half a trim": ("seanet.decoder.trim_right_ratio", 0.5, "trim_right_ratio=0.5"),
    "another slope": ("seanet.activation_params", {"alpha": 2.0}, "activation_params"),
    "an encoder of its own": ("seanet.encoder", {"n_filters": 4}, r"seanet\.encoder"),
    "causal by half": ("seanet.causal", True, "seanet says otherwise"),
    "no stride": ("seanet.ratios", [], "strides"),
    "endlessly many books": ("rvq.n_q", 10**12, "at most"),
    "endlessly many layers": ("seanet.n_residual_layers", 10**12, "residual_layers"),
    "another width": ("seanet.n_filters", 4, "its config makes it"),
}


@pytest.mark.parametrize("fault", REFUSED_CODEC)
def test_settings_of_the_codec_that_are_not_supported_are_named(folder, fault):
    path, value, message = REFUSED_CODEC[fault]
    write_codec_file(folder, codec_tensors(), changed(CODEC_SETTINGS, path, value))
    with pytest.raises(CheckpointError, match=message):
        audiocraft.load_model(folder)


def test_settings_are_data_and_nothing_else(folder):
    bomb = "a: &a [x, x]\n" + "".join(f"{c}: &{c} [*{p}, *{p}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True))
    for settings, message in (
        ("!!python/object/apply:os.getcwd []", "not YAML of plain data"),
        ("[" * 5_000, "not YAML of plain data"),
        ("a: [", "not YAML of plain data"),
        ("- a list", "expected a mapping, got list"),
        ("", "expected a mapping, got NoneType"),
        (bomb, "aliases"),
        ("x" * (2**20 + 1), "up to 1048576 characters"),
        (7, "got int"),
    ):
        write(folder, lm_tensors(), codec_tensors(), settings)  # type: ignore[arg-type]
        with pytest.raises(CheckpointError, match=message):
            audiocraft.load_model(folder)


def test_a_model_with_melody_and_style_has_no_place(make_model, tmp_path):
    model = as_t5(make_model, lm_changes={"has_cross_attention": False}, melody=MelodyConfig(), style=SMALL_STYLE)
    with pytest.raises(CheckpointError, match="one audio condition"):
        audiocraft.save_model(model, tmp_path / "m")


def test_the_window_of_a_chromagram_is_ignored(folder):
    window = {"condition_provider.conditioners.self_wav.chroma.spec.window": torch.hann_window(16)}
    audiocraft.load_model(write(folder, lm_tensors() | window, codec_tensors()))


def test_a_missing_or_left_over_tensor_is_named(folder):
    for change, message in (
        (lambda t: t.pop("linears.2.weight"), r"1 missing tensors, first linears\.2\.weight"),
        (
            lambda t: t.update({"transformer.layers.0.layer_scale_1.scale": torch.ones(16)}),
            "1 unknown tensors, first tra",
        ),
        (lambda t: t.pop(f"{DESCRIPTION}.weight"), "models without text are not read"),
        (lambda t: t.update({"emb.0.weight": torch.zeros(32, 16)}), r"emb\.0\.weight is \(32, 16\), its config"),
    ):
        theirs = lm_tensors()
        change(theirs)
        with pytest.raises(CheckpointError, match=message):
            audiocraft.load_model(write(folder, theirs, codec_tensors()))


def test_a_codec_given_by_name_is_looked_for_next_to_the_model_and_on_the_hub(folder, tmp_path, monkeypatch):
    expected = bits(audiocraft.load_model(folder).codec.state_dict())
    for place in (tmp_path / "encodec_32khz", tmp_path / "cache"):
        place.mkdir()
        (folder / audiocraft.CODEC).replace(place / audiocraft.CODEC)
        torch.save({"pretrained": "facebook/encodec_32khz", "exported": True}, folder / audiocraft.CODEC)
        monkeypatch.setattr(hub, "find", lambda _, place=place: place)
        assert bits(audiocraft.load_model(folder).codec.state_dict()) == expected
        (place / audiocraft.CODEC).replace(folder / audiocraft.CODEC)
        place.rmdir()


def doubled(times: int) -> list[object]:
    """A few bytes in a pickle, 2 ** ``times`` words when it is said."""
    nest: list[object] = []
    for _ in range(times):
        nest = [nest, nest]
    return nest


@pytest.mark.parametrize("name", ["dac_44khz", "", "../../etc/passwd", 7, doubled(100)], ids=range(5))
def test_a_codec_that_is_no_encodec_of_the_hub_is_reported(folder, name):
    torch.save({"pretrained": name, "exported": True}, folder / audiocraft.CODEC)
    with pytest.raises(CheckpointError, match="not a hub id"):
        audiocraft.load_model(folder)


def test_a_codec_that_is_nowhere_is_reported(folder, monkeypatch):
    def nowhere(name: str) -> Path:
        raise CheckpointError(f"{name}: HF_HUB_OFFLINE is set")

    monkeypatch.setattr(hub, "find", nowhere)
    torch.save({"pretrained": "facebook/encodec_32khz", "exported": True}, folder / audiocraft.CODEC)
    with pytest.raises(CheckpointError, match=r"only the name of one.*HF_HUB_OFFLINE is set"):
        audiocraft.load_model(folder)


def test_a_training_checkpoint_is_not_an_export(folder):
    torch.save({"model": lm_tensors(), "history": []}, folder / audiocraft.LM)
    with pytest.raises(CheckpointError, match="has no 'best_state'; export"):
        audiocraft.load_model(folder)


def test_a_text_encoder_of_another_width_is_reported(folder, monkeypatch, word_hashes):
    monkeypatch.setattr(audiocraft, "load_text_encoder", lambda *_: word_hashes(99))
    with pytest.raises(CheckpointError, match="vectors 99 wide"):
        audiocraft.load_model(folder)


def test_a_config_error_of_the_settings_is_a_config_error():
    with pytest.raises(ConfigError, match="compression_model=None"):
        read_codec({})
