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
from descant import Clip, Guidance, InvalidRequest, MusicGen, Request, Sampling, request_from_info
from descant.checkpoints.fingerprint import fingerprint
from descant.checkpoints.names import config_of, folder_of
from descant.checkpoints.native import save_model
from descant.errors import Cancelled, CheckpointError
from descant.evaluation.prompt_fit import fit
from descant.provenance import prompt_of

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
def test_a_folder_that_is_called_as_a_preset_is_loaded_where_a_path_says_so(tmp_path, monkeypatch, name):
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
def test_a_name_that_is_none_is_told(model, message):
    """The empty name was the current folder."""
    with pytest.raises(CheckpointError, match=message):
        descant.load(model)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("model", [None, 5, ["tiny"]], ids=repr)
def test_what_is_neither_a_name_nor_a_path_is_told(model):
    with pytest.raises(InvalidRequest, match="expected a name or a path"):
        descant.load(model)


def test_a_model_that_is_not_there_is_told(tmp_path):
    with pytest.raises(CheckpointError, match="no such model; give starter, tiny, a model folder or a hub id"):
        descant.load(tmp_path / "nowhere")


@pytest.mark.parametrize("device", ["gpu", "cpu:x", "cuda:", "cuda:99", "", "mps:1000"])
def test_a_device_that_is_not_to_be_had_is_told(device):
    with pytest.raises(InvalidRequest, match="device="):
        descant.load("tiny", device=device)


def test_a_precision_that_is_not_to_be_had_is_told():
    with pytest.raises(InvalidRequest, match="allowed are auto, fp32, bf16, fp16"):
        descant.load("tiny", precision="int4")


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
def test_prompts_may_come_in_anything_that_has_an_order(music, several):
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
        ("piano", {"length": 5}, "length: no field of a request; there are text, "),
        ("piano", {"text": "drums"}, "give one of them"),
        ("piano", {"duration_s": 3_601}, "at most 3600 seconds"),
        ("piano", {"seed": "7"}, "seed="),
    ],
)
def test_what_cannot_be_asked_for_is_told(music, request_, fields, message):
    with pytest.raises(InvalidRequest, match=message):
        music.generate(request_, **fields)


def test_progress_and_cancel_reach_the_engine(music):
    seen: list[tuple[int, int]] = []
    music.generate("piano", progress=lambda done, total: seen.append((done, total)), **SHORT)
    assert seen[-1][0] == seen[-1][1]
    with pytest.raises(Cancelled):
        music.generate("piano", cancel=lambda: True, **SHORT)


PROMPT = torch.arange(8).reshape(4, 2)


@pytest.mark.parametrize(
    "request_",
    [
        Request(text="warm 🎹 piano", seed=5, duration_s=0.1),
        Request(text=None, negative_text="noise", duration_s=0.05),
        Request(text="x", guidance=Guidance(scale=1.5), sampling=Sampling(top_k=3, temperature=0.7), duration_s=0.1),
        Request(text="x", sampling=Sampling(greedy=True), prompt_codes=PROMPT, duration_s=0.1),
    ],
    ids=["text", "nothing", "settings", "prompt"],
)
def test_what_a_clip_says_of_itself_makes_it_again(music, request_):
    clip = music.generate(request_)
    again = music.generate(request_from_info(json.loads(json.dumps(clip.info))))
    assert torch.equal(again.codes, clip.codes)
    assert torch.equal(again.samples, clip.samples)
    assert again.info == clip.info
    assert clip.info["model"] == "tiny"
    assert clip.info["model_fingerprint"] == music.fingerprint


def test_a_saved_clip_can_be_made_again_from_its_file(music, tmp_path):
    from descant.audio import read_info

    clip = music.generate("piano", **SHORT)
    clip.save(tmp_path / "piano.flac")
    assert torch.equal(music.generate(request_from_info(read_info(tmp_path / "piano.flac"))).codes, clip.codes)


def test_an_audio_prompt_comes_back_from_info_as_its_codes(music):
    prompt = music.generate("piano", **SHORT)
    clip = music.generate("drums", prompt=prompt, duration_s=0.2, seed=1)
    assert clip.info["prompt_codes"] == clip.codes[:, :5].tolist()
    assert torch.equal(music.generate(request_from_info(clip.info)).codes, clip.codes)
    assert torch.equal(prompt_of(clip.info, clip).samples, prompt.samples)


@pytest.mark.parametrize("length", [0, -1, 10**6, True, 2.0, "5"])
def test_a_given_part_that_cannot_be_is_refused(length):
    with pytest.raises(InvalidRequest, match="of its samples were given"):
        prompt_of({"prompt_samples": length}, Clip(torch.zeros(1, 100), 8_000))


def test_a_chain_of_requests_is_told(music):
    first = music.generate("piano", **SHORT)
    second = music.generate("drums", prompt=first, duration_s=0.2, seed=1)
    third = music.generate("strings", prompt=second, duration_s=0.3, seed=2)
    told = third.info["made_from"]["prompt"]
    assert (told["text"], told["seed"]) == ("drums", 1)
    assert told["made_from"]["prompt"]["text"] == "piano"


def test_the_best_of_several_is_one_of_them_and_is_made_again_by_its_seed(music):
    request = Request(text="drums, 120 bpm", duration_s=2.1, seed=4)
    best = music.generate(request, best_of=3)
    several = [music.generate(request, seed=seed) for seed in (4, 5, 6)]
    scores = [fit(clip, request.text).score for clip in several]
    assert best.info["scores"] == scores
    assert torch.equal(best.codes, several[scores.index(max(scores))].codes)
    assert torch.equal(music.generate(request_from_info(best.info)).codes, best.codes)


@pytest.mark.parametrize(
    ("text", "best_of", "message"),
    [
        ("120 bpm", 0, "best_of=0"),
        ("120 bpm", 65, "best_of=65"),
        ("120 bpm", True, "True"),
        ("piano", 2, "states none"),
        ("120 bpm", 2, "too short to estimate"),
    ],
)
def test_candidates_that_cannot_be_are_refused(music, text, best_of, message):
    with pytest.raises(InvalidRequest, match=message):
        music.generate(text, best_of=best_of, duration_s=1.0)


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


INFO = {
    "text": "piano",
    "negative_text": None,
    "duration_s": 0.1,
    "seed": 3,
    "sampling": {"temperature": 1.0, "top_k": 16, "top_p": 1.0, "greedy": False},
    "guidance": {"scale": 3.0},
    "prompt_codes": None,
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "changes",
    [
        *({name: ...} for name in INFO),
        {"seed": None},
        {"seed": 2**40},
        {"text": 5},
        {"duration_s": "0.1"},
        {"sampling": None},
        {"sampling": {"top_q": 1}},
        {"sampling": {"top_k": -1}},
        {"guidance": [3.0]},
        {"guidance": {"scale": None}},
        {"prompt_codes": "codes"},
        {"prompt_codes": []},
        {"prompt_codes": [[]]},
        {"prompt_codes": [1, 2]},
        {"prompt_codes": [[1, 2], [3]]},
        {"prompt_codes": [[1.5, 2.0]]},
        {"prompt_codes": [["a"]]},
        {"prompt_codes": [[10**30]]},
        {"prompt_codes": [[True]]},
        {"prompt_codes": {"a": 1}},
        {"prompt_codes": [[None]]},
    ],
    ids=lambda changes: f"{changes!s:.40}",
)
def test_info_that_generate_did_not_write_is_refused(changes):
    info = {name: value for name, value in {**INFO, **changes}.items() if value is not ...}
    with pytest.raises(InvalidRequest):
        request_from_info(info)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("info", [{}, [], None, "piano", 5], ids=repr)
def test_info_that_is_no_info_is_refused(info):
    with pytest.raises(InvalidRequest):
        request_from_info(info)
    assert request_from_info(INFO).text == "piano"


def test_clips_of_any_rate_and_channels_are_coded_and_decoded(music):
    clip = Clip(0.3 * torch.randn(2, 2_205).clamp(-1, 1), 22_050)
    codes = music.codec.encode(clip)
    assert codes.shape == (4, 5)
    decoded = music.codec.decode(codes)
    assert decoded.samples.shape == (1, 3_200)
    assert decoded.sample_rate_hz == 32_000
    assert torch.equal(decoded.codes, codes)
    torch.nn.Embedding(32, 2)(codes).sum().backward()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", [np.int64, np.uint16, torch.uint8, torch.int32])
def test_codes_may_be_arrays_and_of_any_width(music, kind):
    codes = torch.arange(20).reshape(4, 5)
    given = codes.numpy().astype(kind) if isinstance(kind, type) else codes.to(kind)
    assert torch.equal(music.codec.decode(given).samples, music.codec.decode(codes).samples)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("given", [np.zeros(100), torch.zeros(1, 100), "in.wav", None], ids=type)
def test_only_clips_are_coded(music, given):
    with pytest.raises(InvalidRequest, match=r"expected a Clip; Clip\(samples"):
        music.codec.encode(given)


@pytest.mark.parametrize(
    "codes",
    [torch.zeros(3, 5), torch.zeros(4, 0), torch.full((4, 5), 32), torch.full((4, 5), -1)],
    ids=["few", "none", "high", "low"],
)
def test_codes_of_another_codec_are_refused(music, codes):
    with pytest.raises(InvalidRequest, match="this codec"):
        music.codec.decode(codes.long())


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
