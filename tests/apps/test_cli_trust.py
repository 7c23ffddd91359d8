"""Models named in the tags of an audio file or in a codes file: used if shipped or cached, else the option is named."""

import contextlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from descant.audio import Clip, read_info
from descant.checkpoints import codes
from descant.provenance import MAX_RECORD_BYTES, MAX_SOURCE_BYTES

REFUSED = 2
NAMES = {
    "a folder": "m",
    "a hub id": "someone/song",
    "a path": "../../etc",
    "a share": "\\\\host\\share",
    "nothing": "",
    "two lines": "a\nb",
    "a quote": "it's",
    "an option": "-x",
    "very long": "n" * 900,
}


@pytest.fixture
def named(made, folder, monkeypatch):
    """Writes a sound and a codes file that name a model; whatever asks the hub fails."""
    hub = pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(folder / "cache"))
    real = hub.snapshot_download

    def only_cached(*words, **settings):
        assert settings.get("local_files_only") is True, "the hub was asked"
        return real(*words, **settings)

    monkeypatch.setattr(hub, "snapshot_download", only_cached)
    info = read_info(made / "made.wav")
    clip = Clip.read(made / "made.wav")
    found, header = codes.load_codes(made / "made.safetensors")

    def write(name: str, **changes: object) -> None:
        Clip(clip.samples, clip.sample_rate_hz, info={**info, "model": name, **changes}).save("a.wav")
        codes.save_codes(Path("a.safetensors"), found, replace(header, model=name))

    return write


@pytest.mark.parametrize("case", NAMES)
def test_what_a_file_names_is_neither_opened_nor_fetched(run, named, tiny_folder, case):
    name = NAMES[case]
    for place in ("m", "someone/song"):
        shutil.copytree(tiny_folder, place)
    named(name)
    for words in (("regenerate", "a.wav", "-o", "b.wav"), ("decode", "a.safetensors", "-o", "b.wav")):
        outcome = run(*words)
        assert outcome.code == REFUSED, outcome.err
        assert outcome.err.count("\n") == 1
        assert "on a file's word; if you trust it, add --model" in outcome.err
        assert len(outcome.err) < 800
        assert not Path("b.wav").exists()


@pytest.fixture
def codes_of(run, made, tiny_folder):
    """Writes a codes file of the model in ``tiny_folder`` that has another name for it."""

    def write(name: str) -> None:
        assert run("encode", made / "made.wav", "--model", tiny_folder, "-o", "a.safetensors").code == 0
        found, header = codes.load_codes(Path("a.safetensors"))
        codes.save_codes(Path("a.safetensors"), found, replace(header, model=name))

    return write


def test_the_option_that_is_told_can_be_pasted(run, codes_of, tiny_folder):
    shutil.copytree(tiny_folder, "it's mine")
    codes_of("it's mine")
    outcome = run("decode", "a.safetensors", "-o", "b.wav")
    assert outcome.err.strip().endswith("""add --model 'it'"'"'s mine'""")
    assert run("decode", "a.safetensors", "-o", "b.wav", "--model", "it's mine").code == 0


def test_an_empty_model_is_no_way_to_open_what_a_file_names(run, named, tiny_folder):
    shutil.copytree(tiny_folder, "m")
    named("m")
    for words in (("regenerate", "a.wav"), ("decode", "a.safetensors")):
        assert run(*words, "-o", "b.wav", "--model", "").code != 0


@pytest.mark.usefixtures("named")
def test_a_cached_model_is_used_and_keeps_its_name(run, codes_of, tiny_folder, folder):
    snapshot = folder / "cache" / "models--someone--song" / "snapshots" / ("c" * 40)
    shutil.copytree(tiny_folder, snapshot)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("c" * 40)
    codes_of("someone/song")
    outcome = run("decode", "a.safetensors", "-o", "b.wav", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["model"] == "someone/song"


ABSURD = {
    "scores that are no numbers": {"scores": [float("nan")]},
    "scores that are words": {"scores": ["good"]},
    "a best that is no number": {"best_of": "all"},
    "sources without end": {"made_from": {"melody": {"text": "x" * MAX_SOURCE_BYTES}}},
    "sources that are a list": {"made_from": [1, 2]},
    "endless guidance": {"guidance": {"scale": float("inf"), "text_scale": None, "schedule": []}},
    "a nested source": {"made_from": {"a": json.loads("[" * 100 + "]" * 100)}},
    "a long name": {"precision": "p" * 5_000},
    "a record without end": {"more": "x" * MAX_RECORD_BYTES},
}


@pytest.mark.parametrize("case", ABSURD)
def test_an_absurd_record_is_refused_before_any_music_is_made(run, made, monkeypatch, case):
    info = {**read_info(made / "made.wav"), **ABSURD[case]}
    monkeypatch.setattr("descant.audio.read_info", lambda _: info)
    monkeypatch.setattr("descant.api.load", lambda *_, **__: pytest.fail("a model was loaded"))
    outcome = run("regenerate", made / "made.wav", "-o", "b.wav")
    assert outcome.code == REFUSED, outcome.err
    assert outcome.err.count("\n") == 1
    assert len(outcome.err) < 500


@pytest.mark.parametrize("case", ["scores that are no numbers", "sources without end", "a nested source"])
def test_what_a_prompts_tags_say_is_looked_at_before_music_is_made(run, made, monkeypatch, case):
    info = {"text": "x", "made_from": {**ABSURD[case]}}
    monkeypatch.setattr("descant.audio.read_info", lambda _: info)
    monkeypatch.setattr("descant.generation.engine.Engine.generate", lambda *_, **__: pytest.fail("music was made"))
    outcome = run("generate", "x", "--model", "tiny", "-d", "1", "--continue", made / "made.wav", "-o", "b.wav")
    assert outcome.code == REFUSED, outcome.err
    assert "--continue" in outcome.err


def test_codes_of_more_than_an_hour_are_refused_before_the_work(run, made, monkeypatch):
    found, header = codes.load_codes(made / "made.safetensors")
    hour = found[:, :1].repeat(1, 180_001)
    codes.save_codes(Path("long.safetensors"), hour, replace(header, num_samples=180_001 * 640))
    monkeypatch.setattr("descant.api.ClipCodec.decode", lambda *_: pytest.fail("it was decoded"))
    outcome = run("decode", "long.safetensors", "-o", "a.wav")
    assert outcome.code == REFUSED
    assert "at most 3600 s" in outcome.err


def test_encode_and_decode_show_how_far_they_are(run, monkeypatch):
    seen: list[tuple[str, float, int, int]] = []

    @contextlib.contextmanager
    def watched(title: str, audio_s: float):
        yield lambda done, whole: seen.append((title, audio_s, done, whole))

    monkeypatch.setattr("descant.apps.cli.codec.progress", watched)
    noise = 0.1 * torch.randn(1, 5 * 32_000, generator=torch.Generator().manual_seed(0))
    Clip(noise, 32_000).save("long.wav")
    for name in ("chunk_s", "one_pass_s"):
        for kind in ("base.AudioCodec", "spectral.SpectralCodec"):
            monkeypatch.setattr(f"descant.codec.{kind}.{name}", 2.0)
    assert run("encode", "long.wav", "-o", "long.safetensors", "--model", "tiny").code == 0
    assert [entry[2:] for entry in seen] == [(64_000, 160_000), (128_000, 160_000), (160_000, 160_000)]
    seen.clear()
    assert run("decode", "long.safetensors", "-o", "back.wav").code == 0
    assert [entry[2:] for entry in seen] == [(100, 250), (200, 250), (250, 250)]
    assert seen[0][:2] == ("decoding 5 s", 5.0)
