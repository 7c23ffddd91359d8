"""The codec's two commands, and what is said and checked of models."""

import json
from dataclasses import fields

import numpy as np
import pytest
import soundfile

from descant.apps.cli.models import OPTIONAL_CONDITIONS
from descant.model import MusicGenConfig
from descant.presets import PRESETS


def test_decoding_the_codes_of_a_generated_piece_gives_its_sound(run, made):
    outcome = run("decode", made / "made.safetensors", "-o", "a.wav", "--loudness", "-14")
    assert outcome.code == 0, outcome.err
    np.testing.assert_array_equal(soundfile.read("a.wav")[0], soundfile.read(made / "made.wav")[0])


def test_encode_brings_any_rate_and_channels_and_decode_gives_the_length_back(run):
    # 0.3 s and a bit: the last frame is not full.
    soundfile.write("in.wav", np.random.default_rng(0).uniform(-0.1, 0.1, (13_337, 2)), 44_100)
    outcome = run("encode", "in.wav", "-o", "a.safetensors", "--model", "tiny", "--json")
    assert outcome.code == 0, outcome.err
    header = json.loads(outcome.out)
    assert header["num_frames"] == 16
    assert header["duration_s"] == pytest.approx(13_337 / 44_100, abs=1e-4)
    outcome = run("decode", "a.safetensors", "-o", "out.flac", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["duration_s"] == header["duration_s"]
    assert soundfile.info("out.flac").samplerate == 32_000


def test_models_list_names_every_preset_and_says_which_make_music_at_once(run):
    models = json.loads(run("models", "list", "--json").out)["models"]
    assert [model["name"] for model in models] == list(PRESETS)
    weights = {model["name"]: model["weights"] for model in models}
    assert weights["tiny"] == "random"
    assert weights["large"] == "none"
    lines = run("models", "list").out.splitlines()
    assert len(lines) == len(PRESETS)


def test_a_model_is_shown_the_same_by_name_and_from_its_folder(run, tiny_folder):
    by_name, from_folder = (json.loads(run("models", "show", name, "--json").out) for name in ("tiny", tiny_folder))
    assert {**by_name, "name": ""} == {**from_folder, "name": ""}
    assert "config.lm.codebook_size" in run("models", "show", "small").out


@pytest.mark.parametrize("preset", PRESETS)
def test_a_model_shows_each_condition_that_it_takes(run, preset):
    """Chords have no settings, so nothing said that the starter takes them."""
    config = PRESETS[preset]()
    expected = ["text", *(name for name in OPTIONAL_CONDITIONS if getattr(config, name) is not None)]
    outcome = run("models", "show", preset, "--json")
    assert json.loads(outcome.out)["conditions"] == expected
    (line,) = [line for line in run("models", "show", preset).out.splitlines() if line.startswith("conditions ")]
    assert line.split(maxsplit=1)[1] == ", ".join(expected)


def test_every_optional_part_of_a_config_is_shown_as_a_condition():
    optional = [field.name for field in fields(MusicGenConfig) if field.default is None]
    assert sorted(optional) == sorted(OPTIONAL_CONDITIONS)


def test_an_untrained_model_is_sound_loads_and_makes_noise(run, tiny_folder):
    outcome = run("models", "check", tiny_folder, "--json")
    assert outcome.code == 0, outcome.err
    found = json.loads(outcome.out)
    assert found["problems"] == []
    assert found["num_parameters"] == json.loads(run("models", "show", "tiny", "--json").out)["num_parameters"]
    assert run("generate", "x", "--model", tiny_folder, "-d", "0.2", "-o", "a.wav", "--loudness", "off").code == 0
    assert np.abs(soundfile.read("a.wav")[0]).max() > 0


def test_an_untrained_model_depends_on_its_seed_alone(run, tiny_folder):
    weights = {}
    for name, seed in (("a", "0"), ("b", "1")):
        assert run("models", "init", "tiny", name, "--seed", seed).code == 0
        with open(f"{name}/model.safetensors", "rb") as file:
            weights[name] = file.read()
    assert weights["a"] == (tiny_folder / "model.safetensors").read_bytes()
    assert weights["a"] != weights["b"]


def test_init_writes_over_nothing(refused, folder):
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.txt").write_text("years of work")
    refused(2, "models", "init", "tiny", "mine")
    refused(2, "models", "init", "tiny", "mine/thesis.txt")


def test_init_looks_for_room_first(refused, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1_000}))
    assert "GB" in refused(2, "models", "init", "large", "m")


def test_check_prints_its_report_as_json_and_still_fails(run, folder):
    (folder / "m").mkdir()
    (folder / "m" / "config.json").write_text("{}")
    outcome = run("models", "check", "m", "--json")
    assert outcome.code == 3
    assert len(json.loads(outcome.out)["problems"]) == 1
    assert outcome.err.count("\n") == 1
