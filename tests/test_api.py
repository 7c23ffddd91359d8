"""The facade: what a few lines of a user's code rely on."""

import copy
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import descant
from descant import Clip, InvalidRequest, MusicGen, Request
from descant.checkpoints.fingerprint import fingerprint
from descant.checkpoints.names import config_of, folder_of
from descant.checkpoints.native import save_model
from descant.errors import Cancelled, CheckpointError

SHORT: dict[str, Any] = {"duration_s": 0.1, "seed": 3}


@pytest.fixture(scope="module")
def music(tiny_model) -> MusicGen:
    return MusicGen(tiny_model, "tiny")


def test_tiny_loads_at_once_and_is_the_same_every_time():
    first = descant.load("tiny", device="cpu")
    torch.manual_seed(1)
    second = descant.load("tiny", device="cpu", precision="fp32")
    assert first.fingerprint == second.fingerprint
    clips = [model.generate("warm piano", **SHORT) for model in (first, second)]
    assert torch.equal(clips[0].codes, clips[1].codes)
    assert torch.equal(clips[0].samples, clips[1].samples)
    assert (first.name, first.device, first.precision) == ("tiny", "cpu", "fp32")
    assert (first.sample_rate_hz, first.num_channels, first.max_duration_s) == (32_000, 1, 30.0)


def test_a_saved_model_loads_from_its_folder_and_sounds_the_same(tmp_path):
    tiny = descant.load("tiny", device="cpu")
    save_model(tiny.model, tmp_path / "model")
    for path in (tmp_path / "model", str(tmp_path / "model")):
        again = descant.load(path, device="cpu")
        assert again.fingerprint == tiny.fingerprint
        assert torch.equal(again.generate("piano", **SHORT).codes, tiny.generate("piano", **SHORT).codes)


def test_models_are_found_by_the_paths_that_people_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    save_model(descant.load("tiny", device="cpu").model, tmp_path / "model")
    for path in ("model", "./model", "model/", "~/model", Path("model"), Path("~/model"), np.str_("model")):
        again = descant.load(path, device=torch.device("cpu"), precision=torch.float32)
        assert again.name == {"./model": "./model"}.get(path, again.name)
        assert again.precision == "fp32"
    assert descant.load(Path("tiny"), device="cpu").name == "tiny"
    assert descant.load(Path("starter"), device="cpu").name == "starter"


@pytest.mark.parametrize("name", ["tiny", "starter"])
def test_a_folder_named_like_a_preset_is_loaded_by_its_path(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    saved = descant.load("tiny", device="cpu").model
    with torch.no_grad():
        saved.lm.norm.weight.add_(1.0)
    save_model(saved, tmp_path / name)
    mark = descant.load(tmp_path / name, device="cpu").fingerprint
    assert descant.load(name, device="cpu").fingerprint != mark
    for path in (f"{name}/", f"./{name}", f"./{name}/"):
        loaded = descant.load(path, device="cpu")
        assert loaded.fingerprint == mark
        assert descant.load(loaded.name, device="cpu").fingerprint == mark
        assert config_of(path) == loaded.config
        assert folder_of(path).resolve() == tmp_path / name
    assert descant.load(name, device="cpu", folder=tmp_path / name).fingerprint == mark


@pytest.mark.parametrize(
    ("model", "message"), [("", "names no model"), (" ", "names no model"), (" tiny", "did you mean 'tiny'")]
)
def test_an_invalid_name_is_an_error(model, message):
    """The empty name was the current folder."""
    with pytest.raises(CheckpointError, match=message):
        descant.load(model)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("model", [None, 5, ["tiny"]], ids=repr)
def test_a_model_that_is_neither_a_name_nor_a_path_is_an_error(model):
    with pytest.raises(InvalidRequest, match="expected a name or a path"):
        descant.load(model)


def test_a_missing_model_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="no such model; give starter, tiny, a model folder or a hub id"):
        descant.load(tmp_path / "nowhere")


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "cuda:", "cuda:99", "", "mps:1000"])
def test_an_unavailable_device_is_an_error(device):
    with pytest.raises(InvalidRequest, match="device="):
        descant.load("tiny", device=device)


def test_an_unknown_precision_is_an_error():
    with pytest.raises(InvalidRequest, match="allowed are auto, fp32, bf16, fp16, int8, int4"):
        descant.load("tiny", precision="int2")


def test_bfloat16_makes_music_too(make_model):
    model = make_model()
    model.lm.bfloat16()
    model.text.bfloat16()
    clip = MusicGen(model, "tiny").generate("piano", **SHORT)
    assert clip.samples.dtype == torch.float32
    assert clip.info["precision"] == "bf16"


def test_text_request_and_list_ask_for_the_same(music):
    clip = music.generate("piano", **SHORT)
    assert isinstance(clip, Clip)
    assert clip.samples.shape == (1, 3_200)
    assert clip.codes.shape == (4, 5)
    request = Request(text="piano", **SHORT)
    for same in (
        music.generate(request),
        music.generate(Request(text="drums"), text="piano", **SHORT),
        music.generate(text="piano", **SHORT),
        music.generate([request])[0],
        music.generate((Request(text=None, duration_s=0.06), "piano"), duration_s=0.1, seed=3)[1],
    ):
        assert torch.equal(same.codes, clip.codes)
        assert torch.equal(same.samples, clip.samples)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("several", [tuple, iter, np.array])
def test_prompts_may_come_in_any_ordered_iterable(music, several):
    texts = ["piano", "drums"]
    expected = music.generate(texts, **SHORT)
    clips = music.generate(several(texts), duration_s=np.float64(0.1), seed=np.int64(3), best_of=np.int8(1))
    assert [clip.info for clip in clips] == [clip.info for clip in expected]
    json.dumps(clips[0].info)
    clip = music.generate(np.array("piano"), **SHORT)
    assert torch.equal(clip.codes, expected[0].codes)
    streams = (
        music.stream(text, chunk_s=s, **SHORT) for text, s in (("piano", 0.5), (np.str_("piano"), np.float32(0.5)))
    )
    plain, numpys = ([chunk.samples for chunk in stream] for stream in streams)
    assert all(map(torch.equal, plain, numpys))


def test_no_text_asks_for_anything(music):
    nothing = [music.generate(**SHORT), music.generate(None, **SHORT), music.generate(" ", **SHORT)]
    assert torch.equal(nothing[0].codes, nothing[1].codes)
    assert torch.equal(nothing[0].codes, nothing[2].codes)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("request_", "fields", "message"),
    [
        ([], {}, "a list of at least one"),
        (5, {}, "expected a prompt"),
        ([5], {}, "expected a prompt"),
        (b"piano", {}, "expected a prompt"),
        ({"piano"}, {}, "a list of at least one"),
        ({"piano": 1}, {}, "a list of at least one"),
        (iter(()), {}, "a list of at least one"),
        (np.array([1.5]), {}, "expected a prompt"),
        ("piano", {"melody": "tune.wav"}, "Clip.read"),
        ("piano", {"length": 5}, "length: not a field of a request; the fields are text, "),
        ("piano", {"text": "drums"}, "give one of them"),
        ("piano", {"duration_s": 3_601}, "at most 3600 seconds"),
        ("piano", {"seed": "7"}, "seed="),
    ],
)
def test_invalid_requests_are_errors(music, request_, fields, message):
    with pytest.raises(InvalidRequest, match=message):
        music.generate(request_, **fields)


def test_progress_and_cancel_reach_the_engine(music):
    seen: list[tuple[int, int]] = []
    music.generate("piano", progress=lambda done, total: seen.append((done, total)), **SHORT)
    assert seen[-1][0] == seen[-1][1]
    with pytest.raises(Cancelled):
        music.generate("piano", cancel=lambda: True, **SHORT)


def test_a_stream_is_what_generate_gives(music):
    request = Request(text="piano", duration_s=0.3, seed=5)
    stream = music.stream(request, chunk_s=0.05)
    clips = list(stream)
    assert len(clips) > 1
    whole = music.generate(request)
    torch.testing.assert_close(torch.cat([clip.samples for clip in clips], dim=1), whole.samples, rtol=0, atol=1e-4)
    assert torch.equal(stream.codes, whole.codes)
    assert stream.request.seed == 5
    with pytest.raises(InvalidRequest, match="chunk_s"):
        music.stream(request, chunk_s=0.0)


def test_a_stream_that_is_closed_gives_no_more_clips(music):
    with music.stream("piano", duration_s=5.0, chunk_s=0.05) as stream:
        next(stream)
    assert list(stream) == []


def test_the_fingerprint_changes_with_any_weight_and_with_the_config(tiny_model):
    """Only 256 values of a tensor were once looked at."""
    before = fingerprint(tiny_model)
    assert fingerprint(copy.deepcopy(tiny_model)) == before
    changed = copy.deepcopy(tiny_model)
    for name, tensor in changed.state_dict().items():
        if tensor.is_floating_point():
            place = tuple(size // 2 for size in tensor.shape)
            kept = tensor[place].clone()
            tensor[place] = torch.nextafter(kept, kept + 1)
            assert fingerprint(changed) != before, name
            tensor[place] = kept
    assert fingerprint(changed) == before
    changed.config = replace(changed.config, max_duration_s=31.0)
    assert fingerprint(changed) != before


def test_importing_the_package_waits_with_torch_until_it_is_needed():
    script = (
        "import sys, descant; assert 'torch' not in sys.modules; descant.Request; assert 'torch' in sys.modules; "
        "import importlib; [getattr(descant, name) for name in descant.__all__]"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_name_the_package_does_not_have_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'descant' has no attribute 'nothing'"):
        _ = descant.nothing
