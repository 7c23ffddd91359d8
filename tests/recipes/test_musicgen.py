"""The paper's recipes at toy size, from a folder of audio to music."""

import json
import shutil

import pytest
import soundfile
import torch

from descant.checkpoints.native import load_codec, load_model
from descant.codec.spec import codec_spec
from descant.data.shard_index import read_index
from descant.errors import ConfigError
from descant.patterns import CoarseFirst, Delay
from descant.training.lm_run import start_from


def make_music(workshop, run, *words, duration_s=1.0):
    """Music of the model of a run, as samples [N, C]."""
    model = workshop.folder / run / "model"
    words = ("warm piano", "--model", model, "-d", duration_s, "--seed", 1, "-o", f"{run}.wav", *words)
    workshop.run("generate", *words)
    samples, rate_hz = soundfile.read(workshop.folder / f"{run}.wav", always_2d=True)
    assert (rate_hz, len(samples)) == (8_000, 8_000 * duration_s)
    return samples


def test_from_a_folder_of_audio_to_music(workshop, toy_lm):
    result = workshop.train("musicgen", "small", toy_lm())
    assert result["steps"] == 2
    assert {"ce", "ce_q3", "caption_gain"} <= result.keys()
    assert make_music(workshop, "small").shape[1] == 1


def test_the_length_of_the_crops_is_the_models_and_its_weights_are_exact(small, workshop):
    assert small.config.max_duration_s == 100 / 200
    stored = load_codec(workshop.folder / "encodec" / "codec")[0].state_dict()
    assert all(torch.equal(tensor, stored[name]) for name, tensor in small.codec.state_dict().items())
    whole = small.lm.blocks[0].mlp.up.weight
    assert not torch.equal(whole, whole.half().float())


def test_a_stereo_model_is_trained_from_a_mono_one(small, workshop, toy_lm):
    settings = toy_lm(codec="encodec/stereo_codec", data__tokens="stereo_tokens", start="small/model")
    workshop.train("musicgen:stereo", "stereo", settings)
    stereo = load_model(workshop.folder / "stereo" / "model")
    assert stereo.config.pattern == Delay(delays=(0, 0, 1, 1, 2, 2, 3, 3))
    left, right = make_music(workshop, "stereo").T
    assert (left != right).any()
    with pytest.raises(ConfigError, match="another codec"):
        start_from(small, stereo)


@pytest.fixture(scope="module")
def small(workshop, toy_lm):
    if not (workshop.folder / "small").exists():
        workshop.train("musicgen", "small", toy_lm())
    return load_model(workshop.folder / "small" / "model")


def test_another_order_of_codes_and_another_codec(workshop, toy_lm):
    pattern = {"type": "CoarseFirst", "delays": [0, 0, 0, 0]}
    workshop.train("musicgen", "coarse", toy_lm(pattern=pattern))
    assert load_model(workshop.folder / "coarse" / "model").config.pattern == CoarseFirst()
    make_music(workshop, "coarse", duration_s=0.5)


def test_a_melody_model_learns_from_the_part_that_it_is_used_with(workshop, toy_lm):
    pytest.importorskip("librosa", reason="librosa")
    workshop.run("data", "melodies", "tokens", "--codec", "encodec/codec", "--part", "harmonic")
    result = workshop.train("musicgen:melody", "melody", toy_lm(model__melody__part="harmonic"))
    assert "melody_gain" in result
    model = load_model(workshop.folder / "melody" / "model")
    assert model.config.melody.part == "harmonic"
    # Half a second of the released models' 7.8 frames.
    assert model.config.melody.num_frames == 4
    make_music(workshop, "melody", "--melody", workshop.folder / "music" / "0.wav")


def test_a_clap_model_reads_texts_through_clap_alone(workshop, toy_lm, make_clap, monkeypatch):
    pytest.importorskip("transformers", reason="transformers")
    monkeypatch.setenv("DESCANT_TRUST_NAMES", "1")
    clap = workshop.folder / "clap"
    make_clap(clap, dim=512, rate_hz=48_000, window_s=10)
    workshop.run("data", "embeddings", "tokens", "--codec", "encodec/codec", "--clap", clap)
    changes = {"model__clap__name": str(clap), "model__clap__codebook_size": 8, "model__clap__num_codebooks": 3}
    assert "clap_gain" in workshop.train("musicgen:clap", "clap_run", toy_lm(**changes))
    model = load_model(workshop.folder / "clap_run" / "model")
    assert [conditioner.name for conditioner in model.conditioners] == ["clap"]
    assert (make_music(workshop, "clap_run") != make_music(workshop, "clap_run", "--guidance", 1)).any()


def test_a_style_model_trains_its_bottleneck(workshop, toy_lm, make_mert, monkeypatch):
    monkeypatch.setenv("DESCANT_TRUST_NAMES", "1")
    style = {
        "features": make_mert(),
        "feature_dim": 16,
        "width": 8,
        "num_heads": 2,
        "num_layers": 1,
        "codebook_size": 16,
        "stride_frames": 50,
        "min_excerpt_s": 0.1,
        "excerpt_s": 0.2,
        "max_excerpt_s": 0.3,
    }
    changes = {f"model__style__{name}": value for name, value in style.items()}
    assert "style_gain" in workshop.train("musicgen:style", "style", toy_lm(trainer__max_steps=4, **changes))
    model = load_model(workshop.folder / "style" / "model")
    assert all(level.is_initialized for level in model.style.quantizer.levels[:1])
    make_music(workshop, "style", "--style", workshop.folder / "music" / "1.wav")


def test_a_t5_is_found_by_its_name(workshop, toy_lm, make_t5, monkeypatch):
    monkeypatch.setenv("DESCANT_TRUST_NAMES", "1")
    text = {"type": "T5Text", "name": make_t5(), "dim": 20}
    workshop.train("musicgen", "t5", toy_lm(model__text=text))
    make_music(workshop, "t5")


def test_codes_of_another_codec_are_refused(workshop, toy_lm):
    words = [
        word
        for name, value in toy_lm(codec="encodec/stereo_codec").items()
        for word in ("--set", f"{name}={json.dumps(value)}")
    ]
    message = workshop.fail("train", "musicgen", "--out", "nothing", *words)
    assert "codes of another codec" in message
    spec = codec_spec(load_codec(workshop.folder / "encodec" / "codec")[0])
    assert read_index(workshop.folder / "tokens").codec == spec


def test_a_run_without_its_model_exports_it_with_one_command(small, workshop, toy_lm):
    folder = workshop.folder / "small"
    page = (folder / "run.html").read_text()
    assert "Cross-entropy in nats of each codebook, validation" in page
    assert "training clips, measured as in validation" in page
    shutil.rmtree(folder / "model")
    words = [word for name, value in toy_lm().items() for word in ("--set", f"{name}={json.dumps(value)}")]
    for which in ("newest", "best"):
        result = workshop.run("train", "musicgen", "--out", "small", "--export", which, *words)
        assert (result["steps"], "train_ce" in result) == (2, True)
        assert same_weights(load_model(folder / "model"), small)
    assert "there is no run in 'nowhere'" in workshop.fail("train", "musicgen", "--out", "nowhere", "--export", "best")


def same_weights(first, second):
    theirs = second.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in first.state_dict().items())
