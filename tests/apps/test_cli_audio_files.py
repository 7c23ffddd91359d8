"""Audio files at the command line: every format is made again from, damage is said, of long files little is read."""

import argparse
from dataclasses import dataclass, replace

import numpy as np
import pytest
import soundfile
import torch

from descant.apps.cli import requests
from descant.apps.cli.options import AUDIO_FORMATS
from descant.audio import Clip, files, read_info
from descant.checkpoints.codes import load_codes
from descant.checkpoints.untrained import save_untrained
from descant.conditioning.chroma import MelodyConfig
from descant.conditioning.style import StyleConfig, excerpt
from descant.generation.request import Request
from descant.presets import tiny


@pytest.mark.parametrize("format", AUDIO_FORMATS)
def test_every_format_is_made_again_from_its_own_tags(run, folder, format):
    made = run("generate", "a drum", "--model", "tiny", "-d", "0.5", "--seed", "7", "-o", f"a.{format}")
    assert made.code == 0, made.err
    assert run("regenerate", f"a.{format}", "-o", f"b.{format}").code == 0
    assert (folder / f"a.{format}").read_bytes() == (folder / f"b.{format}").read_bytes()
    assert read_info(f"a.{format}")["text"] == "a drum"


@pytest.mark.parametrize("format", ["wav", "opus", "m4a"])
def test_a_continuation_is_made_again_from_any_format(run, folder, format):
    """An Opus file has another rate than the music, and what was given is counted in samples of the music."""
    assert run("generate", "x", "--model", "tiny", "-d", "0.5", "--seed", "1", "-o", f"a.{format}").code == 0
    made = ("--model", "tiny", "-d", "1", "--seed", "2", "--continue", f"a.{format}")
    assert run("generate", "y", *made, "-o", f"b.{format}", "--save-codes", "b.safetensors").code == 0
    again = run("regenerate", f"b.{format}", "-o", f"c.{format}", "--save-codes", "c.safetensors")
    assert again.code == 0, again.err
    assert torch.equal(load_codes(folder / "b.safetensors")[0], load_codes(folder / "c.safetensors")[0])
    first, second = (Clip.read(f"{name}.{format}") for name in "bc")
    assert first.samples.shape == second.samples.shape
    if format == "wav":
        assert torch.equal(first.samples, second.samples)


def test_a_damaged_file_is_taken_when_that_is_asked_for(run, folder):
    soundfile.write("a.wav", np.random.default_rng(0).uniform(-0.1, 0.1, 32_000), 32_000)
    (folder / "cut.wav").write_bytes((folder / "a.wav").read_bytes()[:16_044])
    generate = ("generate", "x", "--model", "tiny", "-d", "1", "--seed", "1", "-o", "b.wav", "--continue", "cut.wav")
    encode = ("encode", "cut.wav", "--model", "tiny", "-o", "c.safetensors")
    for command in (generate, encode):
        refused = run(*command)
        assert refused.code == 3
        assert "promises 1.00 s, 0.25 s are there. 0.25 s can be read; --salvage" in refused.err
        taken = run(*command, "--salvage")
        assert taken.code == 0, taken.err
        assert taken.err.count("salvaged 0.25 s of 'cut.wav'") == 1


def test_a_rate_in_the_tags_that_cannot_be_is_refused(run):
    assert run("generate", "x", "--model", "tiny", "-d", "0.5", "--seed", "1", "-o", "a.wav").code == 0
    for wrong in (True, "x", 0, 10**9):
        clip = replace(Clip.read("a.wav"), info={**read_info("a.wav"), "sample_rate_hz": wrong})
        clip.save("b.wav")
        outcome = run("regenerate", "b.wav", "-o", "c.wav")
        assert outcome.code == 3
        assert "which is impossible" in outcome.err


@dataclass
class Config:
    """The melody and style configs of a model."""

    melody: MelodyConfig | None = None
    style: StyleConfig | None = None


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("format", ["wav", "mp3"])
def test_only_the_middle_of_a_long_recording_is_read_for_a_style(monkeypatch, format):
    Clip(0.1 * torch.randn(2, 441_001), 44_100).save(f"long.{format}")
    monkeypatch.setattr("descant.checkpoints.names.config_of", lambda _: Config(style=StyleConfig()))
    read = requests._read_style(argparse.Namespace(style=f"long.{format}", model="any", salvage=False))
    assert read.samples.shape == (2, 132_300)
    assert torch.equal(read.samples, excerpt(Clip.read(f"long.{format}"), StyleConfig()).samples)


def test_only_the_part_of_a_long_recording_that_is_followed_is_read_for_a_melody(run, monkeypatch, tmp_path):
    base = tiny()
    melody = MelodyConfig(sample_rate_hz=8_000, window_samples=512, hop_samples=128, num_frames=11)
    transformer = replace(base.lm.transformer, has_cross_attention=False)
    save_untrained(replace(base, lm=replace(base.lm, transformer=transformer), melody=melody), tmp_path / "model")
    pitch = np.repeat(np.random.default_rng(0).uniform(200, 900, 300), 1_600)
    soundfile.write("long.flac", 0.5 * np.sin(np.cumsum(2 * np.pi * pitch / 16_000)), 16_000)
    arguments = argparse.Namespace(melody="long.flac", model=str(tmp_path / "model"), salvage=False)
    short = requests._read_melody(arguments, Request(text="x", duration_s=2.0, seed=1))
    assert 3.0 < short.duration_s < 4.0
    made = ("--model", tmp_path / "model", "-d", "2", "--seed", "1", "--melody", "long.flac")
    assert run("generate", "x", *made, "-o", "a.wav").code == 0
    monkeypatch.setattr(requests, "_read_melody", lambda arguments, _: Clip(*files.read(arguments.melody)))
    assert run("generate", "x", *made, "-o", "b.wav").code == 0
    assert np.array_equal(soundfile.read("a.wav")[0], soundfile.read("b.wav")[0])
