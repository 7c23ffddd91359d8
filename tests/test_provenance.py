"""The record that a clip carries: what it is made of, and that it generates the clip again."""

import json
from typing import Any

import pytest
import torch

from descant import Clip, Guidance, InvalidRequest, MusicGen, Request, Sampling, request_from_info
from descant.provenance import prompt_of

SHORT: dict[str, Any] = {"duration_s": 0.1, "seed": 3}


@pytest.fixture(scope="module")
def music(tiny_model) -> MusicGen:
    return MusicGen(tiny_model, "tiny")


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
def test_the_info_of_a_clip_generates_it_again(music, request_):
    clip = music.generate(request_)
    again = music.generate(request_from_info(json.loads(json.dumps(clip.info))))
    assert torch.equal(again.codes, clip.codes)
    assert torch.equal(again.samples, clip.samples)
    assert again.info == clip.info
    assert clip.info["model"] == "tiny"
    assert clip.info["model_fingerprint"] == music.fingerprint


def test_a_saved_clip_can_be_generated_again_from_its_file(music, tmp_path):
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
def test_an_impossible_length_of_the_prompt_is_refused(length):
    with pytest.raises(InvalidRequest, match="of its samples were given"):
        prompt_of({"prompt_samples": length}, Clip(torch.zeros(1, 100), 8_000))


def test_a_chain_of_requests_is_recorded(music):
    first = music.generate("piano", **SHORT)
    second = music.generate("drums", prompt=first, duration_s=0.2, seed=1)
    third = music.generate("strings", prompt=second, duration_s=0.3, seed=2)
    source = third.info["made_from"]["prompt"]
    assert (source["text"], source["seed"]) == ("drums", 1)
    assert source["made_from"]["prompt"]["text"] == "piano"


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


def test_chords_of_earlier_versions_after_the_end_are_left_out():
    """They were recorded and not heard; a request with them is refused now."""
    ends = {"duration_s": 4.0, "chords": "C:0.0 G:2.0 Am:90.0"}
    assert request_from_info({**INFO, **ends}).chords == "C:0.0 G:2.0"
    assert request_from_info({**INFO, **ends, "chords": "Am:90.0"}).chords == "none"


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("info", [{}, [], None, "piano", 5], ids=repr)
def test_values_that_are_not_an_info_are_refused(info):
    with pytest.raises(InvalidRequest):
        request_from_info(info)
    assert request_from_info(INFO).text == "piano"
